"""What a caller holds: futures that any thread can wait for and any event loop can await."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")


class _ClientDefault:
    """Stands for the client's ``wait_timeout`` where a caller gives no timeout."""


CLIENT_DEFAULT: Final = _ClientDefault()


class AwaitableFuture(concurrent.futures.Future[T]):
    """A thread-safe future that can also be awaited, in any number of event loops.

    Parameters:
        wait_timeout: seconds after which waiting without a timeout of one's own gives up.
    """

    def __init__(self, wait_timeout: float):
        super().__init__()
        self._wait_timeout = wait_timeout

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

    def cancel(self) -> bool:
        """Return False: what was handed over cannot be taken back."""
        return False

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in an event loop for at most the client's ``wait_timeout``; see `result`."""
        return self._wait().__await__()

    async def _wait(self) -> T:
        if self.done():
            return self.result(timeout=0)
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the result.
        async with asyncio.timeout(self._wait_timeout):
            return await asyncio.wrap_future(self)

    def _bound(self, timeout: float | _ClientDefault | None) -> float | None:
        return self._wait_timeout if isinstance(timeout, _ClientDefault) else timeout


class Receipt(AwaitableFuture[T]):
    """The caller's handle on one operation; its result is the operation's outcome.

    Attributes:
        accepted: resolves to None once the operation is durable: fsynced in the outbox file, or,
            without one, taken by the broker. For a read it resolves at once.
        message_id: the id of the message that carries the operation, once it has been packed;
            what ``client.status`` asks for.
    """

    def __init__(self, wait_timeout: float):
        super().__init__(wait_timeout)
        self.accepted: AwaitableFuture[None] = AwaitableFuture(wait_timeout)
        self.message_id: str | None = None

    def accept(self) -> None:
        """Resolve ``accepted``. Called by the client."""
        with suppress(concurrent.futures.InvalidStateError):
            self.accepted.set_result(None)

    def succeed(self, value: T) -> None:
        """Resolve with the outcome. Called by the client."""
        self.accept()
        with suppress(concurrent.futures.InvalidStateError):
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Resolve with an error; so does ``accepted`` if it is still open. Called by the client."""
        for future in (self.accepted, self):
            with suppress(concurrent.futures.InvalidStateError):
                future.set_exception(error)
