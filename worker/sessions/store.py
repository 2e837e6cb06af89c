"""Session rows in SQL: lock what a batch touches, evaluate, write it in a few statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from api_client.contract.errors import StorageError
from api_client.contract.keys import SessionKey
from api_client.contract.operations import CreateSession, DeleteSession, UpdateState
from worker.database.rows import (
    delete_rows,
    find_rows,
    insert_missing,
    lock_rows,
)
from worker.retry import TryAgain
from worker.schema import events, sessions
from worker.sessions.evaluate import (
    Decoded,
    DecodedAppend,
    SessionPlan,
    SessionResult,
    SessionRow,
    Snapshot,
    evaluate,
)
from worker.sessions.state import write_state
from worker.writes import Writes

#: What `apply` takes.
OPERATIONS = (CreateSession, UpdateState, DeleteSession, DecodedAppend)

_KEY_COLUMNS = (sessions.c.app, sessions.c.user_id, sessions.c.session_id)
_EVENT_KEY_COLUMNS = (events.c.session_pk, events.c.event_id)
_REPLACED = ("revision", "last_seq", "created_at", "updated_at")
_EVENT_COLUMNS = (
    events.c.session_pk,
    events.c.seq,
    events.c.event_id,
    events.c.timestamp,
    events.c.size,
    events.c.payload,
)


def apply(
    connection: Connection,
    writes: Writes,
    operations: Sequence[Decoded | StorageError],
    now: datetime,
    *,
    as_new: bool = False,
) -> list[SessionResult | StorageError]:
    """Apply decoded operations in order within the caller's transaction.

    Parameters:
        writes: takes what is to be written, and is executed by the caller.
        as_new: take it for granted that no event of the batch is stored already, which
            saves looking for each of them.

    Returns one result or error per operation, in order.

    Raises:
        TryAgain: a session changed hands between two statements; run the transaction again.
        sqlalchemy.exc.IntegrityError: an event was stored already, although taken for new. So
            does the execution of ``writes``.
    """
    snapshot = _lock(connection, operations, now)
    if not (as_new and all(map(_inserts_its_events, operations))):
        snapshot.seen = _find_events(connection, operations, snapshot.rows)
    plan = evaluate(operations, snapshot, now)
    _write(connection, writes, snapshot, plan)
    return plan.results


def _inserts_its_events(operation: Decoded | StorageError) -> bool:
    """Whether the database would notice an event that was stored before. It does not see those of
    an append that fails, or of one whose session is deleted after it."""
    if isinstance(operation, DecodedAppend):
        return operation.operation.expected_revision is None
    return not isinstance(operation, DeleteSession)


def _lock(
    connection: Connection, operations: Sequence[Decoded | StorageError], now: datetime
) -> Snapshot:
    touched = {_key_of(operation) for operation in operations} - {None}
    creates = dict.fromkeys(op.key for op in operations if isinstance(op, CreateSession))
    inserted = _insert_for_create(connection, creates, now)
    keys = {key for key in touched if key is not None}
    rows = _lock_rows(connection, sorted(keys), inserted)
    # A row that another transaction deleted while this one waited for it may have been created
    # again by the same transaction, as another row, which only a new statement sees.
    rows |= _lock_rows(connection, sorted(keys - rows.keys()), inserted)
    if creates.keys() - rows.keys():
        raise TryAgain("a session was deleted while it was being created")
    return Snapshot(rows)


def _key_of(operation: Decoded | StorageError) -> SessionKey | None:
    if isinstance(operation, StorageError):
        return None
    if isinstance(operation, DecodedAppend):
        return operation.operation.key
    return operation.key


def _insert_for_create(
    connection: Connection, creates: Iterable[SessionKey], now: datetime
) -> set[int]:
    """Insert the rows that creates will need, so that two workers cannot create one twice.

    In the order of issue, which listings show. Should two clients create the same two sessions
    at once in opposite order, the database ends one transaction, which then runs again.
    """
    rows = [
        {
            "app": key.app,
            "user_id": key.user,
            "session_id": key.session,
            "revision": 0,
            "last_seq": 0,
            "created_at": now,
            "updated_at": now,
        }
        for key in creates
    ]
    return insert_missing(connection, sessions, rows, sessions.c.pk)


def _lock_rows(
    connection: Connection, keys: Sequence[SessionKey], inserted: set[int]
) -> dict[SessionKey, SessionRow]:
    """Lock the rows of ``keys`` in one order, the same in every worker."""
    found: dict[SessionKey, SessionRow] = {}
    asked = [(key.app, key.user, key.session) for key in keys]
    for row in lock_rows(connection, _KEY_COLUMNS, asked):
        key = SessionKey(row.app, row.user_id, row.session_id)
        found[key] = SessionRow(
            row.pk,
            key,
            row.pk not in inserted,
            row.revision,
            row.last_seq,
            row.created_at,
            row.updated_at,
        )
    return found


def _find_events(
    connection: Connection,
    operations: Sequence[Decoded | StorageError],
    rows: dict[SessionKey, SessionRow],
) -> dict[tuple[int, str], int]:
    """Which events of the batch are stored already. A session without events has none."""
    asked = []
    for operation in operations:
        if isinstance(operation, DecodedAppend):
            row = rows.get(operation.operation.key)
            if row is not None and row.last_seq > 0:
                asked += [(row.pk, event.envelope.id) for event in operation.events]
    found = find_rows(connection, _EVENT_KEY_COLUMNS, asked, events.c.seq)
    return {(row.session_pk, row.event_id): row.seq for row in found}


def _write(connection: Connection, writes: Writes, snapshot: Snapshot, plan: SessionPlan) -> None:
    rows = list(snapshot.rows.values())
    # Events and state in the tables go with their row.
    gone = [(row.pk,) for row in rows if row.deleted or not row.exists]
    delete_rows(connection, [sessions.c.pk], gone)
    moved = _insert_again(connection, [row for row in rows if row.deleted and row.exists])
    kept = [row for row in rows if row.exists and row.changed and not row.deleted]
    writes.upsert(sessions, [(row.pk, *_row_values(row).values()) for row in kept], _REPLACED)
    _insert_events(writes, plan, moved)
    plan.state.move_sessions(moved)
    write_state(connection, writes, plan.state)


def _insert_again(connection: Connection, rows: Sequence[SessionRow]) -> dict[int, int]:
    """Insert sessions that were deleted and created in one batch; return their new row ids by
    the old ones. A new id puts them where a listing expects the newest."""
    moved: dict[int, int] = {}
    for row in rows:
        statement = sessions.insert().returning(sessions.c.pk)
        moved[row.pk] = connection.execute(statement, _row_values(row)).scalar_one()
    return moved


def _row_values(row: SessionRow) -> dict[str, object]:
    return {
        "app": row.key.app,
        "user_id": row.key.user,
        "session_id": row.key.session,
        "revision": row.revision,
        "last_seq": row.last_seq,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _insert_events(writes: Writes, plan: SessionPlan, moved: Mapping[int, int]) -> None:
    rows = [
        (
            moved.get(event.session_pk, event.session_pk),
            event.seq,
            event.event_id,
            event.timestamp,
            event.size,
            event.payload,
        )
        for event in plan.events
    ]
    writes.insert_new(_EVENT_COLUMNS, rows)
