"""Failures whose callers have seen the error, so that no person need see it. Pure."""

from __future__ import annotations

from collections import deque

from api_client.contract.codec import encode_operation
from api_client.contract.operations import DiscardDeadLetter

#: Failures told to the worker in one message, and seconds from the first to the message.
_AT_ONCE = 500
_DELAY = 0.5
#: Beyond so many, further ones keep their dead letters.
_MOST = 10_000


class SeenFailures:
    """Failures that the worker has not been told of yet."""

    def __init__(self) -> None:
        self._waiting: deque[DiscardDeadLetter] = deque()
        self._due = 0.0

    def add(self, message_id: str, position: int, now: float) -> None:
        """Take a failed operation, by its message and its place there."""
        if not self._waiting:
            self._due = now + _DELAY
        if len(self._waiting) < _MOST:
            self._waiting.append(DiscardDeadLetter(message_id=message_id, position=position))

    def next_due(self) -> float | None:
        """When the next message should be sent, if ever."""
        return self._due if self._waiting else None

    def take(self, now: float) -> list[bytes]:
        """The operations of a message to be sent now; none if it is not time for one."""
        if now < self._due:
            return []
        self._due = now + _DELAY
        count = min(len(self._waiting), _AT_ONCE)
        return [encode_operation(self._waiting.popleft()) for _ in range(count)]
