"""Tries dead letters again. Each has its effect once, however often it is replayed.

The row itself is the guard: it is locked, the operation applied, and the row deleted in one
transaction. A message that is kept whole goes through the ledger under its own id as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import InvalidRequest, NotFound, Unavailable
from api_client.contract.outcomes import Outcome
from worker import dead_letters, transaction
from worker.dead_letters import WHOLE_MESSAGE
from worker.retry import with_retries
from worker.storage import Storage
from worker.transaction import Way
from worker.work import Work, outcome


def replay(storage: Storage, pk: int, memory: timedelta) -> list[Outcome]:
    """Apply a dead letter, and forget it if nothing of it fails.

    Parameters:
        memory: for how long the ledger remembers messages.

    Returns the outcomes of its operations. Of a message kept whole, those that fail become dead
    letters of their own.

    Raises:
        NotFound: there is no such dead letter (any more).
        InvalidRequest: it cannot be replayed, because it is no message that this release reads,
            or a message so old that the ledger may have forgotten another copy of it.
        Unavailable: the bytes of an artifact it saves have expired.
        sqlalchemy.exc.DBAPIError, OSError: the database or the blob store is in trouble for
            longer than the storage's patience.
    """
    return with_retries(lambda: _replay(storage, pk, memory), patience=storage.patience)


def _replay(storage: Storage, pk: int, memory: timedelta) -> list[Outcome]:
    now = datetime.now(timezone.utc)
    with storage.database.read.connect() as connection:
        row = _existing(connection, pk, lock=False)
    if row.position == WHOLE_MESSAGE and row.issued_at < now - memory:
        raise InvalidRequest(
            f"dead letter {pk} is older than the {memory.days} days that the ledger remembers, "
            "so nobody knows whether the message has come again and was applied; send what is "
            "still wanted of it as a new message",
            field="id",
        )
    work = _work(row)
    storage.take_bytes(work)
    if work.missing:
        raise Unavailable(
            f"the bytes of {', '.join(work.missing)} are neither staged nor in the blob store; "
            "save the artifact again and discard this dead letter"
        )
    with storage.database.write.begin() as connection:
        _existing(connection, pk, lock=True)
        if row.position == WHOLE_MESSAGE:
            return _replay_message(connection, storage, pk, work, now)
        return [_replay_operation(connection, storage, pk, work, now)]


def _existing(connection: Connection, pk: int, *, lock: bool) -> Row[Any]:
    row = dead_letters.find(connection, pk, lock=lock)
    if row is None:
        raise NotFound(f"there is no dead letter {pk} (any more)", field="id")
    return row


def _work(row: Row[Any]) -> Work:
    if row.position == WHOLE_MESSAGE:
        return Work.of(_message(row))
    return Work.of(Message(id=row.message_id, operations=[msgspec.Raw(row.body)]))


def _message(row: Row[Any]) -> Message:
    body = bytes(row.body)
    try:
        if row.operation == codec.WRITE_TASK and body.lstrip().startswith(b"["):
            (body,) = map(bytes, codec.decode_body(body)[0])
        return codec.decode_message(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, InvalidRequest) as error:
        raise InvalidRequest(
            f"dead letter {row.pk} cannot be replayed: {row.error}; it is no message that this "
            f"release reads ({error})",
            field="id",
        ) from None


def _replay_message(
    connection: Connection, storage: Storage, pk: int, work: Work, now: datetime
) -> list[Outcome]:
    entries, _ = transaction.commit(connection, storage.intake, [work], now, Way.ONE_BY_ONE)
    reply = entries[work.message.id].reply(work.message)
    if reply.error is not None:
        dead_letters.failed_again(connection, pk, reply.error, now)
        return [Outcome(error=reply.error)]
    dead_letters.discard(connection, pk)
    return reply.outcomes


def _replay_operation(
    connection: Connection, storage: Storage, pk: int, work: Work, now: datetime
) -> Outcome:
    (operation,) = work.decoded
    found = outcome(transaction.apply_alone(connection, storage.intake, operation, now))
    if found.error is None:
        dead_letters.discard(connection, pk)
    else:
        dead_letters.failed_again(connection, pk, found.error, now)
    return found
