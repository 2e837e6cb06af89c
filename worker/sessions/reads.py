"""Reading sessions: one snapshot, by index only, payloads passed through unparsed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, select

from api_client.contract.checks import check_count, check_text, check_time
from api_client.contract.errors import InvalidRequest, NotFound
from api_client.contract.events import stored_event
from api_client.contract.keys import SessionKey
from api_client.contract.limits import (
    MAX_COUNT,
    MAX_EVENTS_PER_REPLY,
    MAX_PAGE_SIZE,
)
from api_client.contract.operations import ListSessions, LoadSession, LoadSharedState
from worker.database.prepared import Prepared
from worker.schema import as_utc, events, sessions
from worker.sessions.select import select_session
from worker.sessions.state import read_shared_state, read_state


class SummaryReply(msgspec.Struct, frozen=True):
    """A `SessionSummary` as the worker writes it, its state unparsed."""

    key: SessionKey
    revision: int
    created_at: datetime
    updated_at: datetime
    state: dict[str, msgspec.Raw] | None
    last_event_at: datetime | None


class SessionPage(msgspec.Struct, frozen=True):
    """A page of them."""

    items: list[SummaryReply]
    next_cursor: str | None


class LoadedSession(msgspec.Struct, frozen=True):
    """A `SessionReply` as the worker writes it: state and events are JSON that it does not read."""

    key: SessionKey
    state: msgspec.Raw
    events: msgspec.Raw
    revision: int
    created_at: datetime
    updated_at: datetime
    more: bool


def load(connection: Connection, query: LoadSession) -> LoadedSession:
    """A session's state and the newest events that pass the query's bounds, as many as fit.

    One statement, and so one snapshot and one round trip.

    Raises:
        NotFound: there is no such session for this app and user.
        InvalidRequest: a bound is negative or has no time zone.
    """
    _check_load(query)
    key = query.key
    rows = _rows(connection, query)
    if not rows:
        raise NotFound(
            f"there is no session {key.session!r} of user {key.user!r} in app {key.app!r}",
            field="key",
        )
    row = rows[0]
    state = filter(None, (row.app_state, row.user_state, row.session_state))
    events = [stored_event(row[0], row[1]) for row in reversed(rows) if row[1] is not None]
    left_out = len(rows) - len(events) if row.seq is not None else 0
    return LoadedSession(
        key=key,
        state=_raw("{", ",".join(state), "}"),
        events=_raw("[", ",".join(events), "]"),
        revision=row.revision,
        created_at=as_utc(row.created_at),
        updated_at=as_utc(row.updated_at),
        more=left_out > 0 and (query.last is None or len(events) < query.last),
    )


def _rows(connection: Connection, query: LoadSession) -> Sequence[Row[Any]]:
    with_events = query.events and query.last != 0
    by_time = query.after_time is not None
    if connection.dialect.name == "postgresql":
        return _prepared(with_events, by_time).execute(connection, _parameters(query))
    statement = select_session("sqlite", with_events=with_events, by_time=by_time)
    return connection.execute(statement, _parameters(query)).all()


@cache
def _prepared(with_events: bool, by_time: bool) -> Prepared:
    return Prepared(select_session("postgresql", with_events=with_events, by_time=by_time))


def _parameters(query: LoadSession) -> dict[str, object]:
    wanted = MAX_EVENTS_PER_REPLY if query.last is None else min(query.last, MAX_EVENTS_PER_REPLY)
    return {
        "app": query.key.app,
        "user_id": query.key.user,
        "session_id": query.key.session,
        "after_seq": query.after_seq,
        "before_seq": MAX_COUNT if query.before_seq is None else query.before_seq,
        "after_time": query.after_time,
        "wanted": wanted,
        # One more shows whether there are more.
        "looked_at": wanted + 1,
    }


def _raw(*parts: str) -> msgspec.Raw:
    return msgspec.Raw("".join(parts).encode())


def _check_load(query: LoadSession) -> None:
    if query.last is not None:
        check_count(query.last, "last")
    check_count(query.after_seq, "after_seq")
    if query.before_seq is not None:
        check_count(query.before_seq, "before_seq")
    if query.after_time is not None:
        check_time(query.after_time, "after_time")


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
    last_event = and_(events.c.session_pk == sessions.c.pk, events.c.seq == sessions.c.last_seq)
    statement = (
        select(sessions, events.c.timestamp.label("last_event_at"))
        .select_from(sessions.join(events, last_event, isouter=True))
        .where(*bounds)
        .order_by(order)
        .limit(query.limit + 1)
    )
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
        SummaryReply(
            keys[row.pk],
            row.revision,
            row.created_at,
            row.updated_at,
            states.get(row.pk),
            row.last_event_at,
        )
        for row in rows
    ]


def load_shared_state(connection: Connection, query: LoadSharedState) -> dict[str, msgspec.Raw]:
    """What every session of a user sees of the app's state and of the user's, with prefixes.

    Raises:
        InvalidRequest: an id breaks the contract.
    """
    check_text(query.app, "app")
    check_text(query.user, "user")
    return read_shared_state(connection, query.app, query.user)


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
