"""What a caller holds: the handle on one operation."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from api_client.futures import (
    CLIENT_DEFAULT,
    AwaitableFuture,
    ClientDefault,
    Submit,
    run_here,
    state_lock,
)

T = TypeVar("T")

#: Receipts that somebody waits for who may not hold them: a callback, or a task that nothing else
#: refers to. The outbox does not hold all of them.
_awaited: set[Receipt[Any]] = set()


class Receipt(AwaitableFuture[T]):
    """The caller's handle on one operation; its result is the operation's outcome.

    Attributes:
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
        elsewhere: Submit = run_here,
    ):
        super().__init__(wait_timeout, elsewhere)
        self._finish = finish
        self._watched = False
        self._when_seen: Callable[[], None] | None = None
        #: Whether it is known if the operation is accepted, and, if it is not, why.
        self._decided = False
        self._refusal: BaseException | None = None
        self._accepted: AwaitableFuture[None] | None = None
        self.message_id: str | None = None

    @property
    def accepted(self) -> AwaitableFuture[None]:
        """Resolves to None once the operation is durable: fsynced in the outbox file, or, without
        one, taken by the broker. For a read it resolves at once. It resolves with the error if the
        operation fails before."""
        with state_lock():
            if self._accepted is not None:
                return self._accepted
            # Made when it is asked for: most callers never do.
            made = self._accepted = AwaitableFuture(self._wait_timeout, self._elsewhere)
            decided = self._decided
        if decided:
            _resolve(made, self._refusal)
        return made

    @property
    def failure(self) -> BaseException | None:
        """The error if it has failed by now, without counting as having seen it: what nobody has
        seen stays a dead letter."""
        return self._exception

    def exception(
        self, timeout: float | ClientDefault | None = CLIENT_DEFAULT
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
        self._decide(None)

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
        self._decide(None)
        with suppress(concurrent.futures.InvalidStateError):
            self.set_result(value)

    def fail(self, error: BaseException, when_seen: Callable[[], None] | None = None) -> None:
        """Resolve with an error; so does ``accepted`` if it is still open. Called by the client.

        Parameters:
            when_seen: called once somebody has been given the error.
        """
        if not self.done():
            self._when_seen = when_seen
        self._decide(error)
        with suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)
        if self._watched:
            self._seen()

    def _decide(self, refusal: BaseException | None) -> None:
        """Say, once, whether the operation is accepted."""
        with state_lock():
            if self._decided:
                return
            self._decided, self._refusal = True, refusal
            made = self._accepted
        if made is not None:
            _resolve(made, refusal)

    def _seen(self) -> None:
        call, self._when_seen = self._when_seen, None
        if call is not None:
            call()


def _resolve(future: AwaitableFuture[None], refusal: BaseException | None) -> None:
    if refusal is None:
        future.set_result(None)
    else:
        future.set_exception(refusal)
