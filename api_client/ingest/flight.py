"""Keeps a bounded number of files under way, and settles them in the order in which they began."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from api_client.contract.errors import StorageError, Unavailable
from api_client.contract.limits import MIB
from api_client.ingest.join import Candidate
from api_client.receipts import Receipt
from api_client.threads import Workers

T = TypeVar("T")

#: Files under way at a time: several messages of the client, so that one can be packed while the
#: one before it is applied.
_MOST_FILES = 2000
#: Bytes of them, unless one file alone is larger.
_MOST_BYTES = 256 * MIB
#: Bytes of those that are in memory meanwhile, because they ride inside messages.
_MOST_IN_MEMORY = 64 * MIB
#: A thread is given files by so many, or so many bytes of them, because handing over costs time.
_BATCH_FILES = 32
_BATCH_BYTES = MIB
#: Bytes per second that a storage must at least take, or it counts as down.
_SLOWEST = MIB
#: One reads while the other hashes. More take turns with those that copy, and all become slower.
_THREADS = 2
#: Seconds to wait for threads that have been told to end.
_STOP_SECONDS = 1.0

#: What became of a file: whether there was anything to store, or the error.
Outcome = bool | OSError | StorageError
#: The same, or the receipt that will tell.
Begun = Receipt[int] | Outcome
#: Begins to store a file. Called in several threads.
Begin = Callable[[Candidate], Begun]
Settle = Callable[[Candidate, Outcome], None]


@dataclass
class _Batch:
    """Files that one thread begins to store."""

    candidates: list[Candidate] = field(default_factory=list)
    bytes: int = 0
    in_memory: int = 0
    begun: Future[list[Begun]] = field(default_factory=Future)

    def add(self, candidate: Candidate, *, in_memory: bool) -> None:
        self.candidates.append(candidate)
        self.bytes += candidate.file.size
        if in_memory:
            self.in_memory += candidate.file.size

    @property
    def full(self) -> bool:
        return len(self.candidates) >= _BATCH_FILES or self.bytes >= _BATCH_BYTES


class Flight:
    """The files under way. Its methods are called by one thread.

    Parameters:
        begin: begins to store a file.
        settle: told what became of each; called by that one thread.
        patience: seconds without any outcome after which the storage counts as down; every MiB
            under way adds one.
        inline_bytes: files of at most so many bytes are in memory until they are stored.
    """

    def __init__(self, begin: Begin, settle: Settle, patience: float, inline_bytes: int):
        self._begin = begin
        self._settle = settle
        self._patience = patience
        self._inline_bytes = inline_bytes
        self._workers = Workers("zdk-ingest", _THREADS)
        self._closed = False
        self._next = _Batch()
        self._under_way: deque[_Batch] = deque()
        self._files = 0
        self._bytes = 0
        self._in_memory = 0

    def add(self, candidate: Candidate) -> None:
        """Begin to store a file; settle others until there is room for it.

        Raises:
            Unavailable: nothing is stored any more.
        """
        self._next.add(candidate, in_memory=candidate.file.size <= self._inline_bytes)
        if self._next.full:
            self._launch()

    def drain(self) -> None:
        """Settle all. Raises as `add` does."""
        self._launch()
        while self._under_way:
            self._settle_oldest()

    def allowance(self) -> float:
        """Seconds that may pass until the next outcome."""
        return self._patience + self._bytes / _SLOWEST

    def close(self) -> None:
        """Begin nothing more."""
        if not self._closed:
            self._closed = True
            self._workers.close(_STOP_SECONDS)

    def __enter__(self) -> Flight:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> None:
        batch, self._next = self._next, _Batch()
        while self._under_way and not self._has_room_for(batch):
            self._settle_oldest()
        self._files += len(batch.candidates)
        self._bytes += batch.bytes
        self._in_memory += batch.in_memory
        self._under_way.append(batch)
        self._workers.submit(partial(self._run, batch))

    def _has_room_for(self, batch: _Batch) -> bool:
        return (
            self._files + len(batch.candidates) <= _MOST_FILES
            and self._bytes + batch.bytes <= _MOST_BYTES
            and self._in_memory + batch.in_memory <= _MOST_IN_MEMORY
        )

    def _run(self, batch: _Batch) -> None:
        try:
            begun = [self._begin(one) for one in batch.candidates if not self._closed]
            batch.begun.set_result(begun)
        except Exception as error:
            batch.begun.set_exception(error)

    def _settle_oldest(self) -> None:
        batch = self._under_way.popleft()
        begun = self._wait(batch.begun)
        if isinstance(begun, BaseException):
            raise begun
        for candidate, one in zip(batch.candidates, begun, strict=True):
            self._settle(candidate, self._outcome(one))
        self._files -= len(batch.candidates)
        self._bytes -= batch.bytes
        self._in_memory -= batch.in_memory

    def _outcome(self, begun: Begun) -> Outcome:
        if not isinstance(begun, Receipt):
            return begun
        result = self._wait(begun)
        if isinstance(result, BaseException) and not isinstance(result, StorageError):
            raise result
        return result if isinstance(result, StorageError) else True

    def _wait(self, future: Future[T]) -> T | BaseException:
        """The result, or the error that stands in its place."""
        allowance = self.allowance()
        try:
            error = future.exception(allowance)
        except TimeoutError:
            raise Unavailable(
                f"nothing was stored for {allowance:.0f} s, with {self._files:,} files under way; "
                "is a worker running? zdk doctor tells"
            ) from None
        return future.result(0) if error is None else error
