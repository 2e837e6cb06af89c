"""One statement that reads a session whole: its row, its state in three scopes, its events.

That spares a round trip for each table, and a transaction: a statement sees one snapshot by itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    type_coerce,
)

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
    """All of a session that exists, in one row for each of its newest events that pass the bounds,
    looking no further than asked, newest first; in one row if there are none.

    Its parameters are ``app``, ``user_id``, ``session_id``, ``after_seq``, ``before_seq``,
    ``wanted``, ``looked_at`` (one more) and, with ``by_time``, ``after_time``. The first row has

    - ``revision``, ``created_at``, ``updated_at`` (both as the database's driver gives them);
    - ``app_state``, ``user_state``, ``session_state``: the members of a JSON object, or None.

    Each row has ``seq`` and ``payload`` of its event; both are None if there is none, and
    ``payload`` of one that does not fit into the reply.

    Parameters:
        dialect: ``postgresql`` or ``sqlite``.
        with_events: whether to give events at all.
        by_time: whether the events are bounded by their own timestamps too.
    """
    found = _newest_events(by_time) if with_events else _no_events()
    # Given once, because a text for each row would be sent.
    first = func.coalesce(found.c.place, 1) == 1
    in_app = app_state.c.app == _APP
    of_user = and_(user_state.c.app == _APP, user_state.c.user_id == _USER)
    of_session = session_state.c.session_pk == _PK
    once = {
        "revision": sessions.c.revision,
        # For a plain type, SQLAlchemy does not call a function for each row.
        "created_at": type_coerce(sessions.c.created_at, DateTime(timezone=True)),
        "updated_at": type_coerce(sessions.c.updated_at, DateTime(timezone=True)),
        "app_state": _members(dialect, app_state, in_app, Scope.APP),
        "user_state": _members(dialect, user_state, of_user, Scope.USER),
        "session_state": _members(dialect, session_state, of_session, Scope.SESSION),
    }
    return (
        select(
            found.c.seq,
            found.c.payload,
            *(case((first, value)).label(name) for name, value in once.items()),
        )
        .select_from(sessions.join(found, onclause=true(), isouter=True))
        .where(_IS_WANTED)
        # As they are found: to sort them would take as long as to find them.
        .order_by(found.c.seq.desc())
    )


def _members(
    dialect: str, table: Table, where: ColumnElement[bool], scope: Scope
) -> ColumnElement[str]:
    """``"key":value,...`` of one scope of state."""
    name = literal(scope.value, Text) + table.c.key
    comma: ColumnElement[str] = literal_column("','", Text)
    # Each knows how to write text as JSON, and to join texts, by other names.
    quoted: ColumnElement[str]
    if dialect == "postgresql":
        quoted = cast(func.to_json(name), Text)
        joined = func.string_agg(quoted + ":" + table.c.value, comma, type_=Text)
    else:
        quoted = func.json_quote(name)
        joined = func.group_concat(quoted + ":" + table.c.value, comma, type_=Text)
    return select(joined).where(where).scalar_subquery()


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
    place = func.row_number().over(order_by=newest, rows=(None, 0))
    size_with = func.sum(cast(events.c.size, Integer)).over(order_by=newest, rows=(None, 0))
    looked_at = (
        select(
            events.c.seq,
            events.c.payload,
            place.label("place"),
            (size_with - events.c.size).label("size_before"),
        )
        .where(*bounds)
        .order_by(newest)
        .limit(bindparam("looked_at", type_=BigInteger))
        .subquery("looked_at")
    )
    fits = and_(
        looked_at.c.place <= bindparam("wanted", type_=BigInteger),
        looked_at.c.size_before < MAX_REPLY_BYTES,
    )
    fitting = case((fits, looked_at.c.payload)).label("payload")
    return select(looked_at.c.seq, looked_at.c.place, fitting).subquery("found")


def _no_events() -> Subquery:
    columns = {"seq": BigInteger, "place": BigInteger, "payload": Text}
    nothing: list[Any] = [cast(null(), kind).label(name) for name, kind in columns.items()]
    return select(*nothing).where(false()).subquery("found")
