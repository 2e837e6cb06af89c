"""One statement that reads a session whole: its row, its state in three scopes, its events.

That spares a round trip for each table, and a transaction: a statement sees one snapshot by itself.
Its answer is one row, in which the database has put the JSON of the events together, because
thousands of rows take longer to send and to read than to join (docs/decisions/0018).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    true,
)
from sqlalchemy.dialects import postgresql

from api_client.contract.limits import MAX_REPLY_BYTES
from api_client.contract.scopes import Scope
from worker.schema import UtcDateTime, app_state, events, session_state, sessions, user_state

_APP: ColumnElement[str] = bindparam("app", type_=Text)
_USER: ColumnElement[str] = bindparam("user_id", type_=Text)
_IS_WANTED = and_(
    sessions.c.app == _APP,
    sessions.c.user_id == _USER,
    sessions.c.session_id == bindparam("session_id", type_=Text),
)
_PK = select(sessions.c.pk).where(_IS_WANTED).scalar_subquery()


@cache
def select_session(dialect: str, *, with_events: bool, by_time: bool) -> Select[Any]:
    """A session that exists, in one row, with its newest events that pass the bounds, looking no
    further than asked.

    Its parameters are ``app``, ``user_id``, ``session_id``, ``after_seq``, ``before_seq``,
    ``wanted``, ``looked_at`` (one more) and, with ``by_time``, ``after_time``. The row has

    - ``revision``, ``created_at``, ``updated_at``;
    - ``app_state``, ``user_state``, ``session_state``: the members of a JSON object, or None;
    - ``events``: those that fit into the reply, the elements of a JSON array, oldest first, or
      None; ``given`` and ``found``: how many they are, and how many there are with one that
      does not fit.

    Parameters:
        dialect: ``postgresql`` or ``sqlite``.
        with_events: whether to give events at all.
        by_time: whether the events are bounded by their own timestamps too.
    """
    in_app = app_state.c.app == _APP
    of_user = and_(user_state.c.app == _APP, user_state.c.user_id == _USER)
    of_session = session_state.c.session_pk == _PK
    found = _events(dialect, by_time) if with_events else _no_events()
    return (
        select(
            sessions.c.revision,
            sessions.c.created_at,
            sessions.c.updated_at,
            _members(dialect, app_state, in_app, Scope.APP).label("app_state"),
            _members(dialect, user_state, of_user, Scope.USER).label("user_state"),
            _members(dialect, session_state, of_session, Scope.SESSION).label("session_state"),
            found,
        )
        .select_from(sessions.join(found, onclause=true()))
        .where(_IS_WANTED)
    )


def _members(
    dialect: str, table: Table, where: ColumnElement[bool], scope: Scope
) -> ColumnElement[str]:
    """``"key":value,...`` of one scope of state."""
    name = literal(scope.value, Text) + table.c.key
    # Each knows how to write text as JSON, by another name.
    quoted = cast(func.to_json(name), Text) if dialect == "postgresql" else func.json_quote(name)
    joined = func.aggregate_strings(quoted + ":" + table.c.value, ",")
    return select(joined).where(where).scalar_subquery()


def _events(dialect: str, by_time: bool) -> Subquery:
    newest = _newest_events(by_time)
    fits = and_(
        newest.c.place <= bindparam("wanted", type_=BigInteger),
        newest.c.size_before < MAX_REPLY_BYTES,
    )
    event = _stored_event(dialect, newest.c.seq, newest.c.payload)
    comma: ColumnElement[str] = literal(",", Text)
    if dialect == "postgresql":
        in_order = postgresql.aggregate_order_by(comma, newest.c.seq)
        joined = func.string_agg(event, in_order, type_=Text)
    else:
        # SQLite takes rows in the order in which a subquery gives them.
        joined = func.group_concat(event, comma, type_=Text)
    return select(
        joined.filter(fits).label("events"),
        func.count().filter(fits).label("given"),
        func.count().label("found"),
    ).subquery("found")


def _newest_events(by_time: bool) -> Subquery:
    bounds = [
        events.c.session_pk == _PK,
        events.c.seq > bindparam("after_seq", type_=BigInteger),
        events.c.seq < bindparam("before_seq", type_=BigInteger),
    ]
    if by_time:
        bounds.append(events.c.timestamp > bindparam("after_time", type_=UtcDateTime))
    newest = events.c.seq.desc()
    # By rows, and of integers, a running sum takes a third of the time; two windows of one kind
    # are one.
    size_with = func.sum(cast(events.c.size, Integer)).over(order_by=newest, rows=(None, 0))
    looked_at = (
        select(
            events.c.seq,
            events.c.payload,
            func.row_number().over(order_by=newest, rows=(None, 0)).label("place"),
            (size_with - events.c.size).label("size_before"),
        )
        .where(*bounds)
        .order_by(newest)
        .limit(bindparam("looked_at", type_=BigInteger))
        .subquery("looked_at")
    )
    return select(looked_at).order_by(looked_at.c.seq).subquery("newest")


def _stored_event(
    dialect: str, seq: ColumnElement[int], payload: ColumnElement[str]
) -> ColumnElement[str]:
    """The JSON of a stored event from its place and the JSON it was appended as.

    The payload is known to be an object with at least an id, so the new member can be spliced in
    after its brace.
    """
    # On PostgreSQL, substr takes ten times as long.
    members = func.right(payload, -1) if dialect == "postgresql" else func.substr(payload, 2)
    return literal('{"seq":', Text) + cast(seq, Text) + "," + members


def _no_events() -> Subquery:
    nothing: ColumnElement[str] = cast(null(), Text)
    zero: ColumnElement[int] = literal(0)
    return select(nothing.label("events"), zero.label("given"), zero.label("found")).subquery(
        "found"
    )
