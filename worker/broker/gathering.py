"""Small messages that have come while the pool was busy, to be applied in one transaction. Pure.

A commit costs about as much for one message as for fifty. So many clients with one operation each
are served as one client with many would be, by waiting for nothing but what is being done already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from api_client.contract import codec
from api_client.contract.limits import KIB

#: Bytes of a message that is worth gathering, and of all that are applied together.
MOST_SMALL_BYTES = 16 * KIB
MOST_BYTES = 64 * KIB
#: Messages that are applied together.
MOST_MESSAGES = 64

T = TypeVar("T")


def comes_again(headers: Mapping[str, Any], delivery_info: Mapping[str, Any]) -> bool:
    """Whether a message may have been delivered before: redelivered, or sent again.

    Parameters:
        headers, delivery_info: as the gate has cleaned them.
    """
    redelivered = headers.get("redelivered") or delivery_info.get("redelivered")
    return bool(redelivered) or headers.get(codec.TRY_HEADER, 1) > 1


def may_gather(headers: Mapping[str, Any], delivery_info: Mapping[str, Any], size: int) -> bool:
    """Whether a message may be applied together with others.

    Not if it may have been delivered before: one that ends its process would take the others with
    it again and again. Alone, its tries are counted.

    Parameters:
        headers, delivery_info: as of `comes_again`.
        size: of the body, in bytes.
    """
    return (
        headers["task"] == codec.WRITE_TASK
        and size <= MOST_SMALL_BYTES
        and not headers["ignore_result"]
        and not comes_again(headers, delivery_info)
    )


class Gathering(Generic[T]):
    """Messages that wait, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[T, int]] = deque()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._waiting)

    def add(self, message: T, size: int) -> None:
        """Take one of ``size`` bytes."""
        self._waiting.append((message, size))

    def take(self) -> list[T]:
        """As many as may be applied together; at least one, if there is any."""
        taken: list[T] = []
        room = MOST_BYTES
        while self._waiting and len(taken) < MOST_MESSAGES:
            message, size = self._waiting[0]
            if taken and size > room:
                break
            self._waiting.popleft()
            taken.append(message)
            room -= size
        return taken
