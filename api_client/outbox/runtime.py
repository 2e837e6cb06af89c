"""What the outbox's pump needs of its surroundings; a simulation brings its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from api_client.contract.records import new_id

#: Something that has happened, to be looked at in the next turn.
Event = Callable[[], object]


class Executor(Protocol):
    """Runs work elsewhere, in the order given."""

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work``, now or later."""


@dataclass(frozen=True)
class Runtime:
    """The pump's surroundings.

    Attributes:
        post: hands an event to the next turn; may be called from any thread.
        clock: seconds that only rise, for waiting.
        wall: seconds since 1970, for the age of messages.
        sender: for messages and queries.
        stager: keeps large bytes, which their operations wait for.
        uploader: for messages with large bytes beside them; sending those may take long.
        reader: for replies to queries, whose decoding may take long.
        new_id: makes the ids of messages, UUIDv7 by the wall clock.
    """

    post: Callable[[Event], None]
    clock: Callable[[], float]
    wall: Callable[[], float]
    sender: Executor
    stager: Executor
    uploader: Executor
    reader: Executor
    new_id: Callable[[], str] = new_id
