"""Reading sessions: one snapshot, by index only, payloads passed through unparsed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, select

from api_client.contract.checks import check_count, check_text, check_time
from api_client.contract.errors import InvalidRequest, NotFound
from api_client.contract.events import stored_event
from api_client.contract.keys import SessionKey
from api_client.contract.limits import (
    MAX_COUNT,
    MAX_EVENTS_PER_REPLY,
    MAX_PAGE_SIZE,
    MAX_REPLY_BYTES,
)
from api_client.contract.operations import ListSessions, LoadSession
from api_client.contract.outcomes import SessionReply
from worker.schema import events, sessions
from worker.sessions.state import read_state


class SummaryReply(msgspec.Struct, frozen=True):
    """A `SessionSummary` as the worker writes it, its state unparsed."""

    key: SessionKey
    revision: int
    created_at: datetime
    updated_at: datetime
    state: dict[str, msgspec.Raw] | None


class SessionPage(msgspec.Struct, frozen=True):
    """A page of them."""

    items: list[SummaryReply]
    next_cursor: str | None


def load(connection: Connection, query: LoadSession) -> SessionReply:
    """A session's state and the newest events that pass the query's bounds, as many as fit.

    Raises:
        NotFound: there is no such session for this app and user.
        InvalidRequest: a bound is negative or has no time zone.
    """
    _check_load(query)
    key = query.key
    row = connection.execute(select(sessions).where(*_is(key))).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no session {key.session!r} of user {key.user!r} in app {key.app!r}",
            field="key",
        )
    found, more = _load_events(connection, row.pk, query)
    return SessionReply(
        key=key,
        state=read_state(connection, [(row.pk, key)])[row.pk],
        events=found,
        revision=row.revision,
        created_at=row.created_at,
        updated_at=row.updated_at,
        more=more,
    )


def _is(key: SessionKey) -> tuple[ColumnElement[bool], ...]:
    return (
        sessions.c.app == key.app,
        sessions.c.user_id == key.user,
        sessions.c.session_id == key.session,
    )


def _check_load(query: LoadSession) -> None:
    if query.last is not None:
        check_count(query.last, "last")
    check_count(query.after_seq, "after_seq")
    if query.before_seq is not None:
        check_count(query.before_seq, "before_seq")
    if query.after_time is not None:
        check_time(query.after_time, "after_time")


def _load_events(
    connection: Connection, session_pk: int, query: LoadSession
) -> tuple[list[msgspec.Raw], bool]:
    """The newest events within the bounds, oldest first, and whether older ones did not fit."""
    if not query.events or query.last == 0:
        return [], False
    bounds: list[ColumnElement[bool]] = [events.c.session_pk == session_pk]
    if query.after_seq:
        bounds.append(events.c.seq > query.after_seq)
    if query.before_seq is not None:
        bounds.append(events.c.seq < query.before_seq)
    if query.after_time is not None:
        bounds.append(events.c.timestamp > query.after_time)
    wanted = MAX_EVENTS_PER_REPLY if query.last is None else min(query.last, MAX_EVENTS_PER_REPLY)
    # The running total stops the read at the reply's size without fetching what will not fit.
    newest = (
        select(
            events.c.seq,
            events.c.payload,
            (func.sum(events.c.size).over(order_by=events.c.seq.desc()) - events.c.size).label(
                "size_before"
            ),
        )
        .where(*bounds)
        .order_by(events.c.seq.desc())
        .limit(wanted + 1)
        .subquery()
    )
    statement = (
        select(newest.c.seq, newest.c.payload)
        .where(newest.c.size_before < MAX_REPLY_BYTES)
        .order_by(newest.c.seq)
    )
    rows = connection.execute(statement).all()
    return _fit(connection, rows, wanted, query, bounds)


def _fit(
    connection: Connection,
    rows: Any,
    wanted: int,
    query: LoadSession,
    bounds: list[ColumnElement[bool]],
) -> tuple[list[msgspec.Raw], bool]:
    fitting = rows[-wanted:]
    replies = [stored_event(row.seq, row.payload) for row in fitting]
    if query.last is not None and len(fitting) >= query.last:
        return replies, False
    if len(rows) > wanted:
        return replies, True
    if not fitting:
        return replies, False
    older = select(events.c.seq).where(*bounds, events.c.seq < fitting[0].seq).limit(1)
    return replies, connection.execute(older).first() is not None


def list_sessions(connection: Connection, query: ListSessions) -> SessionPage:
    """One page of an app's or a user's sessions, in the order of their creation.

    Raises:
        InvalidRequest: an id, the limit or the cursor breaks the contract.
    """
    check_text(query.app, "app")
    if query.user is not None:
        check_text(query.user, "user")
    check_count(query.limit, "limit", least=1, most=MAX_PAGE_SIZE)
    bounds: list[ColumnElement[bool]] = [sessions.c.app == query.app]
    if query.user is not None:
        bounds.append(sessions.c.user_id == query.user)
    if query.cursor is not None:
        position = _decode_cursor(query.cursor, query.order)
        after = sessions.c.pk < position if query.order == "newest" else sessions.c.pk > position
        bounds.append(after)
    order = sessions.c.pk.desc() if query.order == "newest" else sessions.c.pk.asc()
    statement = select(sessions).where(*bounds).order_by(order).limit(query.limit + 1)
    rows = connection.execute(statement).all()
    shown = rows[: query.limit]
    more = len(rows) > query.limit
    return SessionPage(
        _summaries(connection, shown, query.state),
        _encode_cursor(shown[-1].pk, query.order) if more else None,
    )


def _summaries(
    connection: Connection, rows: list[Row[Any]] | Any, with_state: bool
) -> list[SummaryReply]:
    keys = {row.pk: SessionKey(row.app, row.user_id, row.session_id) for row in rows}
    states = read_state(connection, list(keys.items())) if with_state else {}
    return [
        SummaryReply(keys[row.pk], row.revision, row.created_at, row.updated_at, states.get(row.pk))
        for row in rows
    ]


def _encode_cursor(position: int, order: str) -> str:
    return urlsafe_b64encode(f"{order}:{position}".encode()).decode()


def _decode_cursor(cursor: str, order: str) -> int:
    try:
        made_for, _, position = urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if made_for == order and 0 <= int(position) <= MAX_COUNT:
            return int(position)
    except ValueError:
        pass
    raise InvalidRequest(
        "cursor is not one that this listing returned; start without a cursor", field="cursor"
    )
