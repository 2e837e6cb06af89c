"""Dead letters: failed operations and unreadable messages, kept for a person.

A failed operation is recorded in the transaction that records its outcome. Its caller's client
discards it once the caller has seen the error; what stays is what nobody waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, case, delete, func, or_, select, update

from api_client.contract.errors import ErrorRecord
from api_client.contract.limits import MAX_MESSAGE_BYTES, MIB
from worker.database.rows import insert_missing
from worker.issued import issued_at
from worker.schema import dead_letters

#: The position of a message that is kept as a whole.
WHOLE_MESSAGE = -1
#: Bytes kept of one dead letter; nothing longer could ever be applied.
KEPT_BYTES = MAX_MESSAGE_BYTES + MIB

_WORDS = 256
_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Failure:
    """An operation that has failed.

    Attributes:
        message_id, position: where it came.
        body: the operation as JSON.
        error: why it failed.
        attempts: how often it was tried.
    """

    message_id: str
    position: int
    body: bytes
    error: ErrorRecord
    attempts: int = 1


class Refused(msgspec.Struct, frozen=True):
    """A message that never became one of ours.

    Attributes:
        id: a UUID made of what came, so that the same delivery is kept once.
        task: the name of the task it asked for, as far as that can be told.
        task_id: under which its publisher looks for a reply, likewise.
        reason: why it was refused.
        headers: as they came, as JSON text.
        body: its first `KEPT_BYTES`.
        size: bytes of the whole.
    """

    id: str
    task: str
    task_id: str
    reason: str
    headers: str
    body: bytes
    size: int


@dataclass(frozen=True)
class Limits:
    """How much is kept for one app; the oldest go first. Attributes: rows and bytes."""

    rows: int = 1000
    bytes: int = 1024 * MIB


class _Key(msgspec.Struct):
    app: str = ""
    user: str = ""
    session: str = ""


class _Owner(msgspec.Struct):
    """What can be told of an operation that may be malformed."""

    op: str = ""
    key: _Key = msgspec.field(default_factory=_Key)


def keep_failures(connection: Connection, failures: Iterable[Failure], now: datetime) -> None:
    """Record failed operations, each once."""
    rows = []
    for failure in failures:
        owner = _owner(failure.body)
        rows.append(
            {
                "message_id": failure.message_id,
                "position": failure.position,
                "app": _words(owner.key.app),
                "user_id": _words(owner.key.user),
                "session_id": _words(owner.key.session),
                "operation": _words(owner.op),
                "code": _words(failure.error.code),
                "error": _text(failure.error.message),
                "headers": "",
                "body": failure.body,
                "size": len(failure.body),
                "attempts": failure.attempts,
                "issued_at": issued_at(failure.message_id) or now,
                "failed_at": now,
            }
        )
    insert_missing(connection, dead_letters, rows, dead_letters.c.pk)


def keep_refused(connection: Connection, refused: Refused, now: datetime) -> None:
    """Record a message that was refused, once."""
    row = {
        "message_id": refused.id,
        "position": WHOLE_MESSAGE,
        "app": "",
        "user_id": "",
        "session_id": "",
        "operation": _words(refused.task),
        "code": "invalid_request",
        "error": _text(refused.reason),
        "headers": refused.headers.replace("\x00", "\\x00"),
        "body": refused.body,
        "size": refused.size,
        "attempts": 1,
        "issued_at": now,
        "failed_at": now,
    }
    insert_missing(connection, dead_letters, [row], dead_letters.c.pk)


def forget(connection: Connection, message_id: str, position: int) -> bool:
    """Forget a failed operation; return whether it was there."""
    statement = delete(dead_letters).where(
        dead_letters.c.message_id == message_id, dead_letters.c.position == position
    )
    return bool(connection.execute(statement).rowcount)


def trim(connection: Connection, app: str, limits: Limits) -> int:
    """Drop the oldest dead letters of an app beyond ``limits``; return how many."""
    newest = dead_letters.c.pk.desc()
    size = dead_letters.c.size
    kept = case((size > KEPT_BYTES, KEPT_BYTES), else_=size)
    ranked = (
        select(
            dead_letters.c.pk,
            func.row_number().over(order_by=newest).label("place"),
            func.sum(kept).over(order_by=newest).label("total"),
        )
        .where(dead_letters.c.app == app)
        .subquery()
    )
    beyond = select(ranked.c.pk).where(
        or_(ranked.c.place > limits.rows, ranked.c.total > limits.bytes), ranked.c.place > 1
    )
    return connection.execute(delete(dead_letters).where(dead_letters.c.pk.in_(beyond))).rowcount


def find(connection: Connection, pk: int, *, lock: bool = False) -> Row[Any] | None:
    """The row ``pk``, locked against others if so asked."""
    statement = select(dead_letters).where(dead_letters.c.pk == pk)
    return connection.execute(statement.with_for_update() if lock else statement).one_or_none()


def page(
    connection: Connection, *, app: str | None = None, after: int = 0, limit: int = 100
) -> Sequence[Row[Any]]:
    """Dead letters without their bytes, oldest first.

    Parameters:
        app: only this app's; "" for those of none.
        after: only those with a greater ``pk``.
        limit: at most so many.
    """
    columns = [c for c in dead_letters.c if c.name not in ("body", "headers")]
    statement: Select[Any] = select(*columns).where(dead_letters.c.pk > after)
    if app is not None:
        statement = statement.where(dead_letters.c.app == app)
    return connection.execute(statement.order_by(dead_letters.c.pk).limit(limit)).all()


def discard(connection: Connection, pk: int) -> bool:
    """Drop one for good; return whether it was there."""
    return bool(connection.execute(delete(dead_letters).where(dead_letters.c.pk == pk)).rowcount)


def failed_again(connection: Connection, pk: int, error: ErrorRecord, now: datetime) -> None:
    """Note that a replay has failed too."""
    connection.execute(
        update(dead_letters)
        .where(dead_letters.c.pk == pk)
        .values(
            code=_words(error.code),
            error=_text(error.message),
            attempts=dead_letters.c.attempts + 1,
            failed_at=now,
        )
    )


def app_of(body: bytes) -> str:
    """The app that an operation belongs to, "" if that cannot be told."""
    return _words(_owner(body).key.app)


def _owner(body: bytes) -> _Owner:
    try:
        return msgspec.json.decode(body, type=_Owner)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _Owner()


def _words(text: str) -> str:
    return text.replace("\x00", "\\x00")[:_WORDS]


def _text(text: str) -> str:
    # PostgreSQL's text cannot hold NUL.
    return text.replace("\x00", "\\x00")[:_ERROR_CHARACTERS]
