"""One statement that reads a session whole: its row, its state in three scopes, its events.

The database puts the JSON together, from text that it does not look into. That spares a Python
object for each event, and a round trip for each table.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Select,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    select,
    true,
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
    """One row with all of a session that exists.

    Its parameters are ``app``, ``user_id``, ``session_id``, ``after_seq``, ``before_seq``,
    ``wanted``, ``looked_at`` (one more) and, with ``by_time``, ``after_time``. It gives
    ``revision``, ``created_at``, ``updated_at``, and

    - ``app_state``, ``user_state``, ``session_state``: the members of a JSON object, or None;
    - ``events``: the elements of a JSON array, oldest first, or None: the newest that pass the
      bounds, and fit into a reply;
    - ``found``, ``fitting``: how many events pass the bounds, looking no further than asked, and
      how many of those are given.

    Parameters:
        dialect: ``postgresql`` or ``sqlite``.
        with_events: whether to give events at all.
        by_time: whether the events are bounded by their own timestamps too.
    """
    in_app = app_state.c.app == _APP
    of_user = and_(user_state.c.app == _APP, user_state.c.user_id == _USER)
    of_session = session_state.c.session_pk == _PK
    statement = select(
        sessions.c.revision,
        sessions.c.created_at,
        sessions.c.updated_at,
        _members(dialect, app_state.c.key, app_state.c.value, in_app, Scope.APP),
        _members(dialect, user_state.c.key, user_state.c.value, of_user, Scope.USER),
        _members(dialect, session_state.c.key, session_state.c.value, of_session, Scope.SESSION),
    ).where(_IS_WANTED)
    if not with_events:
        zero = literal(0)
        return statement.add_columns(
            null().label("events"), zero.label("found"), zero.label("fitting")
        )
    part = _newest_events(by_time)
    return statement.add_columns(*part.c).join(part, onclause=true())


def _members(
    dialect: str, key: Column[Any], value: Column[Any], where: ColumnElement[bool], scope: Scope
) -> ColumnElement[str]:
    """``"key":value,...`` of one scope of state."""
    name = literal(scope.value, Text) + key
    # Each knows how to write text as JSON, by another name.
    quoted = cast(func.to_json(name), Text) if dialect == "postgresql" else func.json_quote(name)
    joined = func.aggregate_strings(quoted + ":" + value, ",")
    return select(joined).where(where).scalar_subquery().label(f"{scope.name.lower()}_state")


def _newest_events(by_time: bool) -> Subquery:
    bounds = [
        events.c.session_pk == _PK,
        events.c.seq > bindparam("after_seq", type_=BigInteger),
        events.c.seq < bindparam("before_seq", type_=BigInteger),
    ]
    if by_time:
        bounds.append(events.c.timestamp > bindparam("after_time", type_=UtcDateTime))
    newest = events.c.seq.desc()
    looked_at = (
        select(
            events.c.seq,
            events.c.payload,
            func.row_number().over(order_by=newest).label("place"),
            (func.sum(events.c.size).over(order_by=newest) - events.c.size).label("size_before"),
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
    # A payload is an object with at least an id, so its place can be put in behind the brace.
    stored = '{"seq":' + cast(looked_at.c.seq, Text) + "," + func.substr(looked_at.c.payload, 2)
    # Both databases join the texts in the order in which they come.
    ordered = (
        select(case((fits, stored)).label("text")).order_by(looked_at.c.seq).subquery("ordered")
    )
    return select(
        func.aggregate_strings(ordered.c.text, ",").label("events"),
        func.count().label("found"),
        func.count(ordered.c.text).label("fitting"),
    ).subquery("events_found")
