"""What the processes of a worker have done, counted in memory that they share.

A pool process cannot tell the worker's main process anything beside a task's end. So each counts
in a place of its own in a page that all have inherited: without locks between processes, system
calls or files, and what a process that has died has counted stays counted (decision 31).
"""

from __future__ import annotations

import mmap
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Self

import msgspec
from billiard.process import current_process

from api_client.contract.codec import Message
from api_client.contract.errors import ErrorRecord
from worker.dead_letters import Failure
from worker.issued import issued_at
from worker.ledger import Entry
from worker.watch import Watch
from worker.work import Work

#: Upper bounds of the classes of durations, in seconds: 1 ms, doubled up to 524 s. What takes
#: longer is in one more class.
BOUNDS: tuple[float, ...] = tuple(0.001 * 2**power for power in range(20))
_CLASSES = len(BOUNDS) + 1

#: Places in the memory. Should a pool have more processes, some share one, and may miss a count.
_PLACES = 256
#: Counts of a place, in the order of `Counts`: four numbers and two rows of classes.
_MESSAGES, _OPERATIONS, _FAILURES, _QUERIES, _WAIT = range(5)
_APPLY = _WAIT + _CLASSES
_WIDTH = _APPLY + _CLASSES


class Counts(msgspec.Struct, frozen=True):
    """How much of what was done.

    Attributes:
        messages: committed, or given up; one that comes again counts again.
        operations: in these.
        failures: of these operations, and messages that were refused.
        queries: answered.
        wait: messages by the time from their issue by the client to their commit, by the clocks
            of both; one count for each of `BOUNDS` and one for what is beyond. Messages whose id
            tells no time are not in it.
        apply: groups of messages that were applied together, by the time that it took, likewise.
    """

    messages: int = 0
    operations: int = 0
    failures: int = 0
    queries: int = 0
    wait: tuple[int, ...] = (0,) * _CLASSES
    apply: tuple[int, ...] = (0,) * _CLASSES

    def __sub__(self, earlier: Self) -> Counts:
        """What was done since ``earlier``."""
        return Counts.of([a - b for a, b in zip(self.row(), earlier.row(), strict=True)])

    def __add__(self, other: Self) -> Counts:
        """What two have done together."""
        return Counts.of([a + b for a, b in zip(self.row(), other.row(), strict=True)])

    def row(self) -> list[int]:
        """All numbers, in the order of the attributes."""
        return [
            *(self.messages, self.operations, self.failures, self.queries),
            *self.wait,
            *self.apply,
        ]

    @classmethod
    def of(cls, row: Sequence[int]) -> Counts:
        """The counts in a `row`."""
        messages, operations, failures, queries, *classes = row
        return Counts(
            *(messages, operations, failures, queries),
            wait=tuple(classes[:_CLASSES]),
            apply=tuple(classes[_CLASSES:]),
        )


class Tally(Watch):
    """Counts of all processes of a worker. Make it before they are forked. Thread-safe."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, _PLACES * _WIDTH * 8)
        self._numbers: Any = memoryview(memory).cast("q")
        self._lock = threading.Lock()

    def applied(self, seconds: float) -> None:
        """See `Watch.applied`."""
        self._add({_APPLY + _class_of(seconds): 1})

    def committed(
        self,
        works: Sequence[Work],
        entries: Mapping[str, Entry],
        failures: Sequence[Failure],
        seconds: float,
    ) -> None:
        """See `Watch.committed`."""
        self._settled([work.message for work in works], len(failures))

    def known(self, works: Sequence[Work]) -> None:
        """See `Watch.known`."""
        self._settled([work.message for work in works], 0)

    def gave_up(self, operations: int) -> None:
        """See `Watch.gave_up`."""
        self._add({_MESSAGES: 1, _OPERATIONS: operations, _FAILURES: operations})

    def refused(self) -> None:
        """See `Watch.refused`."""
        self._add({_FAILURES: 1})

    def answered(self, error: ErrorRecord | None) -> None:
        """See `Watch.answered`."""
        self._add({_QUERIES: 1})

    def read(self) -> Counts:
        """What all processes together have done since the worker's start."""
        return Counts.of([sum(self._numbers[field::_WIDTH]) for field in range(_WIDTH)])

    def _settled(self, messages: Sequence[Message], failures: int) -> None:
        operations = sum(len(message.operations) for message in messages)
        row = Counter({_MESSAGES: len(messages), _OPERATIONS: operations, _FAILURES: failures})
        now = time.time()
        for message in messages:
            issued = issued_at(message.id)
            if issued is not None:
                row[_WAIT + _class_of(now - issued.timestamp())] += 1
        self._add(row)

    def _add(self, row: Mapping[int, int]) -> None:
        # A pool's processes are numbered; one that takes the place of another gets its number.
        start = (getattr(current_process(), "index", None) or 0) % _PLACES * _WIDTH
        with self._lock:
            for field, number in row.items():
                self._numbers[start + field] += number


def quantile(classes: Sequence[int], share: float) -> float | None:
    """The bound, in seconds, that a ``share`` of the durations is not above; None without any.

    What is beyond the last of `BOUNDS` counts as that.
    """
    if not any(classes):
        return None
    sums = [*accumulate(classes)]
    position: int = bisect_left(sums, share * sums[-1])
    return BOUNDS[min(position, len(BOUNDS) - 1)]


def _class_of(seconds: float) -> int:
    return bisect_left(BOUNDS, seconds)
