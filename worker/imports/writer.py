"""Applies messages of an import many at a time, as one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import and_, bindparam, or_, update

from api_client.contract.codec import Message, encode_operation
from api_client.contract.keys import SessionKey
from api_client.contract.operations import WriteOperation
from api_client.contract.outcomes import WriteReply
from api_client.contract.records import new_id
from worker.imports.summary import Summary
from worker.schema import UtcDateTime, sessions
from worker.storage import Storage

#: Bytes, and messages, in one transaction.
_MAX_BYTES = 2 * 1024 * 1024
_MAX_MESSAGES = 200


@dataclass(frozen=True)
class Brings:
    """What a message adds to the summary once it is applied."""

    where: str
    sessions: int = 0
    events: int = 0
    state: int = 0


@dataclass(frozen=True)
class Times:
    """When a session was created and changed, where it comes from; and how many events it has."""

    key: SessionKey
    events: int
    created_at: datetime
    updated_at: datetime


class Writer:
    """Gathers messages and applies them in order.

    Parameters:
        storage: where to; None for a dry run.
        summary: counts what was applied, and what failed.
    """

    def __init__(self, storage: Storage | None, summary: Summary):
        self._storage = storage
        self._summary = summary
        self._messages: list[Message] = []
        self._brings: list[Brings] = []
        self._times: list[Times] = []
        self._bytes = 0

    def add(self, brings: Brings, *operations: WriteOperation) -> None:
        """Have ``operations`` applied in one message; none of them exceeds the limits."""
        encoded = [msgspec.Raw(encode_operation(operation)) for operation in operations]
        self._messages.append(Message(id=new_id(), operations=encoded))
        self._brings.append(brings)
        self._bytes += sum(len(bytes(raw)) for raw in encoded)
        if self._bytes >= _MAX_BYTES or len(self._messages) >= _MAX_MESSAGES:
            self.flush()

    def keep_times(self, times: Times) -> None:
        """Give a session its own times back, unless it has events of other origin."""
        self._times.append(times)
        if len(self._times) >= _MAX_MESSAGES:
            self.flush()

    def flush(self) -> None:
        """Apply what was gathered."""
        if self._storage is not None and self._messages:
            replies = self._storage.apply(self._messages)
        else:
            replies = [WriteReply() for _ in self._messages]
        for brings, reply in zip(self._brings, replies, strict=True):
            self._count(brings, reply)
        if self._storage is not None and self._times:
            _set_times(self._storage, self._times)
        self._messages, self._brings, self._times, self._bytes = [], [], [], 0

    def _count(self, brings: Brings, reply: WriteReply) -> None:
        errors = [outcome.error for outcome in reply.outcomes] + [reply.error]
        failures = [error for error in errors if error is not None]
        for failure in failures:
            self._summary.fail(brings.where, failure.message)
        if not failures:
            self._summary.new_sessions += brings.sessions
            self._summary.new_events += brings.events
            self._summary.new_state += brings.state


def _set_times(storage: Storage, times: list[Times]) -> None:
    created_at, updated_at = (
        bindparam(name, type_=UtcDateTime) for name in ("new_created_at", "new_updated_at")
    )
    is_session = and_(
        sessions.c.app == bindparam("of_app"),
        sessions.c.user_id == bindparam("of_user"),
        sessions.c.session_id == bindparam("of_session"),
        sessions.c.last_seq == bindparam("events"),
        or_(sessions.c.created_at != created_at, sessions.c.updated_at != updated_at),
    )
    statement = update(sessions).where(is_session)
    statement = statement.values(created_at=created_at, updated_at=updated_at)
    # In the order in which workers lock, so that nobody waits in a circle.
    rows = [
        {
            "of_app": entry.key.app,
            "of_user": entry.key.user,
            "of_session": entry.key.session,
            "events": entry.events,
            "new_created_at": entry.created_at,
            "new_updated_at": entry.updated_at,
        }
        for entry in sorted(times, key=lambda entry: entry.key)
    ]
    with storage.database.write.begin() as connection:
        connection.execute(statement, rows)
