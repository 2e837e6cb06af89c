"""What a caller holds: futures that any thread can wait for and any event loop can await."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from api_client.contract.errors import StorageError

T = TypeVar("T")


class _ClientDefault:
    """Stands for the client's ``wait_timeout`` where a caller gives no timeout."""


CLIENT_DEFAULT: Final = _ClientDefault()

#: Runs a call now or later.
Submit = Callable[[Callable[[], object]], object]


def _run_here(call: Callable[[], object]) -> None:
    call()


class AwaitableFuture(concurrent.futures.Future[T]):
    """A thread-safe future that can also be awaited, in any number of event loops.

    Parameters:
        wait_timeout: seconds after which waiting without a timeout of one's own gives up.
        elsewhere: runs callbacks, which may wait for what the resolving thread has to do.
    """

    def __init__(self, wait_timeout: float, elsewhere: Submit = _run_here):
        super().__init__()
        self._wait_timeout = wait_timeout
        self._elsewhere = elsewhere

    def result(self, timeout: float | _ClientDefault | None = CLIENT_DEFAULT) -> T:
        """Wait for the result.

        Parameters:
            timeout: seconds; the client's ``wait_timeout`` if not given, no bound if None.

        Raises:
            TimeoutError: it has not come in time. The operation goes on; ask again.
            StorageError: the operation has failed.
        """
        return super().result(self._bound(timeout))

    def exception(
        self, timeout: float | _ClientDefault | None = CLIENT_DEFAULT
    ) -> BaseException | None:
        """Wait likewise, and return the error, or None after a success."""
        return super().exception(self._bound(timeout))

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call ``fn`` with this once it is resolved, in a thread made for that, which may wait
        for the client; here and now if it is resolved already."""
        if self.done():
            self.when_done(fn)
        else:
            self.when_done(lambda done: self._elsewhere(partial(fn, done)))

    def when_done(self, call: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call ``call``, which must not wait, in the thread that resolves this. For the client's
        own use."""
        super().add_done_callback(call)

    def cancel(self) -> bool:
        """Return False: what was handed over cannot be taken back."""
        return False

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in an event loop for at most the client's ``wait_timeout``; see `result`."""
        return self._wait().__await__()

    async def _wait(self) -> T:
        if not self.done():
            # Not wait_for: before 3.12 it swallows a cancellation that comes with the result.
            async with asyncio.timeout(self._wait_timeout):
                await self._settled()
        return self.result(timeout=0)

    async def _settled(self) -> None:
        """Wait until it is done, without looking at the result."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def wake(_: object) -> None:
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, settled)

        self.when_done(wake)
        await settled

    def _bound(self, timeout: float | _ClientDefault | None) -> float | None:
        return self._wait_timeout if isinstance(timeout, _ClientDefault) else timeout


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


#: Receipts that somebody waits for who may not hold them: a callback, or a task that nothing else
#: refers to. The outbox does not hold all of them.
_awaited: set[Receipt[Any]] = set()


class Receipt(AwaitableFuture[T]):
    """The caller's handle on one operation; its result is the operation's outcome.

    Attributes:
        accepted: resolves to None once the operation is durable: fsynced in the outbox file, or,
            without one, taken by the broker. For a read it resolves at once.
        message_id: the id of the message that carries the operation, once it has been packed;
            what ``client.status`` asks for.

    Parameters:
        finish: makes the result of the reply's JSON; None if there will be no reply.
        wait_timeout, elsewhere: see `AwaitableFuture`.
    """

    def __init__(
        self,
        wait_timeout: float,
        finish: Callable[[msgspec.Raw], T] | None = None,
        elsewhere: Submit = _run_here,
    ):
        super().__init__(wait_timeout, elsewhere)
        self._finish = finish
        self._watched = False
        self._when_seen: Callable[[], None] | None = None
        self.accepted: AwaitableFuture[None] = AwaitableFuture(wait_timeout, elsewhere)
        self.message_id: str | None = None

    def result(self, timeout: float | _ClientDefault | None = CLIENT_DEFAULT) -> T:
        """See `AwaitableFuture.result`."""
        try:
            return super().result(timeout)
        except StorageError:
            self._seen()
            raise

    def exception(
        self, timeout: float | _ClientDefault | None = CLIENT_DEFAULT
    ) -> BaseException | None:
        """See `AwaitableFuture.exception`."""
        error = super().exception(timeout)
        if error is not None:
            self._seen()
        return error

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """See `AwaitableFuture.add_done_callback`."""
        self._watched = True
        super().add_done_callback(fn)
        if self.done():
            self._seen()

    def when_done(self, call: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """See `AwaitableFuture.when_done`."""
        _awaited.add(self)
        super().when_done(call)
        # The last of the callbacks; at once if it is done.
        super().when_done(_awaited.discard)

    def accept(self) -> None:
        """Resolve ``accepted``. Called by the client."""
        with suppress(concurrent.futures.InvalidStateError):
            self.accepted.set_result(None)

    def finish(self, reply: msgspec.Raw) -> None:
        """Resolve with what the reply's JSON means, or with an error if this release cannot read
        it. Called by the client."""
        assert self._finish is not None
        try:
            value = self._finish(reply)
        except Exception as error:
            self.fail(error)
        else:
            self.succeed(value)

    def succeed(self, value: T) -> None:
        """Resolve with the outcome. Called by the client."""
        self.accept()
        with suppress(concurrent.futures.InvalidStateError):
            self.set_result(value)

    def fail(self, error: BaseException, when_seen: Callable[[], None] | None = None) -> None:
        """Resolve with an error; so does ``accepted`` if it is still open. Called by the client.

        Parameters:
            when_seen: called once somebody has been given the error.
        """
        if not self.done():
            self._when_seen = when_seen
        for future in (self.accepted, self):
            with suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)
        if self._watched:
            self._seen()

    def _seen(self) -> None:
        call, self._when_seen = self._when_seen, None
        if call is not None:
            call()
