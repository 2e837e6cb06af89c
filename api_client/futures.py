"""Futures that any thread can wait for and any event loop can await: light enough for many."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

#: As `concurrent.futures.Future` spells them; `wait` and `as_completed` look at them.
_PENDING = "PENDING"
_FINISHED = "FINISHED"


class ClientDefault:
    """Stands for the client's ``wait_timeout`` where a caller gives no timeout."""


CLIENT_DEFAULT: Final = ClientDefault()

#: Runs a call now or later.
Submit = Callable[[Callable[[], object]], object]

#: Guards the state of all futures; held for a few instructions only.
_state_lock = threading.Lock()


def state_lock() -> threading.Lock:
    """The lock that guards the state of all futures of this process."""
    return _state_lock


def _new_lock() -> None:
    # Another thread of the parent may have held it at the fork.
    global _state_lock
    _state_lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def run_here(call: Callable[[], object]) -> None:
    """Run ``call`` now."""
    call()


class AwaitableFuture(concurrent.futures.Future[T]):
    """A thread-safe future that can also be awaited, in any number of event loops.

    The base class makes a condition, and with it some ten objects, for each future. With a hundred
    thousand of them the garbage collector would take more time than everything else together, so
    here there is one only for those that somebody waits for in a way that needs it.

    Parameters:
        wait_timeout: seconds after which waiting without a timeout of one's own gives up.
        elsewhere: runs callbacks, which may wait for what the resolving thread has to do.
    """

    def __init__(self, wait_timeout: float, elsewhere: Submit = run_here):
        self._wait_timeout = wait_timeout
        self._elsewhere = elsewhere
        self._state = _PENDING
        self._result: T | None = None
        self._exception: BaseException | None = None
        self._calls: tuple[Callable[[concurrent.futures.Future[T]], object], ...] = ()
        self._waited_for = False

    def __getattr__(self, name: str) -> Any:
        """Make what `concurrent.futures.wait` and ``as_completed`` wait with."""
        if name not in ("_condition", "_waiters"):
            raise AttributeError(name)
        with state_lock():
            if not self._waited_for:
                self._condition = threading.Condition()
                self._waiters = []
                self._waited_for = True
        return vars(self)[name]

    def result(self, timeout: float | ClientDefault | None = CLIENT_DEFAULT) -> T:
        """Wait for the result.

        Parameters:
            timeout: seconds; the client's ``wait_timeout`` if not given, no bound if None.

        Raises:
            TimeoutError: it has not come in time. The operation goes on; ask again.
            StorageError: the operation has failed.
        """
        error = self.exception(timeout)
        if error is None:
            return self._result  # type: ignore[return-value]
        try:
            raise error
        finally:
            # The error's traceback refers to this frame, and would keep the future alive.
            del self, error

    def exception(
        self, timeout: float | ClientDefault | None = CLIENT_DEFAULT
    ) -> BaseException | None:
        """Wait likewise, and return the error, or None after a success."""
        if not self.done():
            self._wait_here(self._wait_timeout if isinstance(timeout, ClientDefault) else timeout)
        return self._exception

    def done(self) -> bool:
        """Whether it is resolved."""
        return self._state == _FINISHED

    def running(self) -> bool:
        """Return False: whether work on it has begun is not known here."""
        return False

    def cancel(self) -> bool:
        """Return False: what was handed over cannot be taken back."""
        return False

    def cancelled(self) -> bool:
        """Return False, for the same reason."""
        return False

    def set_result(self, result: T) -> None:
        """Resolve it. Raises InvalidStateError if it is resolved already."""
        self._settle(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """Resolve it with an error; see `set_result`."""
        self._settle(None, exception)

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
        with state_lock():
            if self._state == _PENDING:
                self._calls = (*self._calls, call)
                return
        self._run(call)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in an event loop for at most the client's ``wait_timeout``; see `result`."""
        return self._wait().__await__()

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        with state_lock():
            if self._state == _FINISHED:
                raise concurrent.futures.InvalidStateError("it is resolved already")
            self._result, self._exception = result, error
            self._state = _FINISHED
            calls, self._calls = self._calls, ()
        # Whoever makes a condition after this sees the state first.
        if self._waited_for:
            self._wake()
        for call in calls:
            self._run(call)

    def _wake(self) -> None:
        with self._condition:
            for waiter in self._waiters:
                tell = waiter.add_result if self._exception is None else waiter.add_exception
                tell(self)
            self._condition.notify_all()

    def _run(self, call: Callable[[concurrent.futures.Future[T]], object]) -> None:
        try:
            call(self)
        except Exception:
            log.exception("a callback of %r has failed", self)

    def _wait_here(self, timeout: float | None) -> None:
        """Block this thread until it is done. Raises TimeoutError."""
        resolved = threading.Lock()
        resolved.acquire()

        def wake(_: object) -> None:
            resolved.release()

        AwaitableFuture.when_done(self, wake)
        bound = -1.0 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)
        if resolved.acquire(timeout=bound):
            return
        with state_lock():
            self._calls = tuple(call for call in self._calls if call is not wake)
        if not self.done():
            raise TimeoutError

    async def _wait(self) -> T:
        if not self.done():
            # Not wait_for: before 3.12 it swallows a cancellation that comes with the result.
            async with asyncio.timeout(self._wait_timeout):
                await self.settled()
        return self.result(timeout=0)

    async def settled(self) -> None:
        """Wait in an event loop, without a bound, until it is done; the result is not looked at."""
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[None] = loop.create_future()

        def wake(_: object) -> None:
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, settled)

        self.when_done(wake)
        await settled


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
