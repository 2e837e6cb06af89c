"""An existing database of google-adk, read only, row by row.

The tables are those that ADK's `DatabaseSessionService` (schema version 1, since ADK 1.22) and its
`SqliteSessionService` write: google/adk/sessions/schemas/v1.py and sqlite_session_service.py of
google-adk 2.13.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    column,
    create_engine,
    func,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool, StaticPool

from api_client.contract.errors import InvalidRequest
from worker.imports.mapping import EventRow

#: Rows that are fetched at a time.
_ROWS = 500
_CONNECT_SECONDS = 10
#: By asynchronous driver, which is what ADK's URLs name, the one that is used here.
_DRIVERS = {
    "postgresql": "postgresql+psycopg2",
    "postgresql+asyncpg": "postgresql+psycopg2",
    "sqlite+aiosqlite": "sqlite",
    "mysql+aiomysql": "mysql+pymysql",
    "mysql+asyncmy": "mysql+pymysql",
    "mariadb+aiomysql": "mariadb+pymysql",
    "mariadb+asyncmy": "mariadb+pymysql",
}
_READABLE_VERSION = "1"

_metadata = table("adk_internal_metadata", column("key"), column("value"))
_app_states = table("app_states", column("app_name"), column("state"))
_user_states = table("user_states", column("app_name"), column("user_id"), column("state"))
_sessions = table(
    "sessions",
    *map(column, ("app_name", "user_id", "id", "state", "create_time", "update_time")),
)
_events = table(
    "events",
    *map(column, ("id", "app_name", "user_id", "session_id", "invocation_id", "timestamp")),
    column("event_data"),
)


class Unreadable(Exception):
    """A row that cannot be understood; the message says why."""


@dataclass(frozen=True)
class SessionRow:
    """A session as its row has it; its state and times are read with `object_in` and `time_in`."""

    app: str
    user: str
    id: str
    state: Any
    create_time: Any
    update_time: Any


class Source:
    """The database to bring over, as it is now. Close it.

    A file of SQLite is copied first, to where SQLite keeps temporary files (``SQLITE_TMPDIR``).

    Parameters:
        url: of SQLAlchemy; drivers that ADK uses are replaced by synchronous ones.

    Raises:
        InvalidRequest: the URL is malformed, its driver is not installed, there is no such file,
            or the database is none of ADK's, or of a version that cannot be read here.
        sqlalchemy.exc.DBAPIError: it cannot be reached.
    """

    def __init__(self, url: str):
        self._engine = _open(url)
        try:
            with self._engine.connect() as connection:
                _check_schema(connection)
        except BaseException:
            self._engine.dispose()
            raise
        # While one walks over sessions and another over the events of each, a third looks things
        # up: not every driver can do these on one connection.
        self._walk = self._engine.connect().execution_options(yield_per=_ROWS)
        self._read = self._engine.connect().execution_options(yield_per=_ROWS)
        self._look_up = self._engine.connect()

    def close(self) -> None:
        """Close its connections."""
        for connection in (self._walk, self._read, self._look_up):
            connection.close()
        self._engine.dispose()

    def count_events(self) -> int:
        """How many events there are, those without a session included."""
        return int(self._one(select(func.count()).select_from(_events)))

    def app_states(self) -> Iterator[tuple[str, Any]]:
        """The name and the state of each app."""
        for row in self._walk.execute(select(_app_states)):
            yield row.app_name, row.state

    def user_states(self) -> Iterator[tuple[str, str, Any]]:
        """The app, the id and the state of each user."""
        for row in self._walk.execute(select(_user_states)):
            yield row.app_name, row.user_id, row.state

    def app_state(self, app: str) -> Any:
        """The state of one app; None if there is none."""
        return self._one(select(_app_states.c.state).where(_app_states.c.app_name == app))

    def user_state(self, app: str, user: str) -> Any:
        """The state of one user; None if there is none."""
        of_user = _user_states.c.app_name == app, _user_states.c.user_id == user
        return self._one(select(_user_states.c.state).where(*of_user))

    def sessions(self) -> Iterator[SessionRow]:
        """All sessions, each app's in the order of their creation."""
        c = _sessions.c
        for row in self._walk.execute(
            select(_sessions).order_by(c.app_name, c.create_time, c.user_id, c.id)
        ):
            yield SessionRow(*row)

    def events(self, session: SessionRow) -> Iterator[tuple[str, EventRow | Unreadable]]:
        """The id of each event of a session, and the event, in the order in which ADK gives them.

        One that cannot be read is the error in its place.
        """
        c = _events.c
        found = self._read.execute(
            select(c.id, c.invocation_id, c.timestamp, c.event_data)
            .where(*_belongs_to(session))
            .order_by(c.timestamp, c.id)
        )
        for row in found:
            yield str(row.id), _event(row)

    def _one(self, statement: Select[Any]) -> Any:
        return self._look_up.execute(statement).scalar()


def object_in(value: Any, field: str) -> Mapping[str, Any]:
    """A JSON object as a driver gives it: parsed or as text; an empty one for SQL's NULL.

    Raises:
        Unreadable: it is none.
    """
    try:
        found = json.loads(value) if isinstance(value, (str, bytes, bytearray)) else value
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{field} is not JSON: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Unreadable(f"{field} must be an object, not {type(found).__name__}")
    return found


def time_in(value: Any, field: str) -> datetime:
    """A point in time as a driver gives it: a datetime, UTC if it has no zone; text; POSIX seconds.

    Raises:
        Unreadable: it is none.
    """
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, timezone.utc)
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        utc = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
        return datetime.astimezone(utc, timezone.utc)
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        raise Unreadable(f"{field} is not a point in time") from None


def _event(row: Any) -> EventRow | Unreadable:
    try:
        return EventRow(
            id=row.id,
            invocation_id=row.invocation_id or "",
            timestamp=time_in(row.timestamp, "timestamp").timestamp(),
            data=object_in(row.event_data, "event_data"),
        )
    except Unreadable as error:
        return error


def _belongs_to(session: SessionRow) -> tuple[ColumnElement[bool], ...]:
    c = _events.c
    return c.app_name == session.app, c.user_id == session.user, c.session_id == session.id


def _open(text: str) -> Engine:
    try:
        url = make_url(text)
    except ArgumentError:
        raise InvalidRequest(
            "the database's URL is malformed; it is the one that ADK was given, such as "
            "sqlite:///sessions.db or postgresql://user:password@host/name",
            field="database_url",
        ) from None
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() == "sqlite":
        return _open_file(url)
    options: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        options = {"isolation_level": "REPEATABLE READ"}
        if url.drivername == "postgresql+psycopg2":
            options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    try:
        return create_engine(url, poolclass=NullPool, **options)
    except (ImportError, NoSuchModuleError) as error:
        raise InvalidRequest(
            f"there is no driver for {url.drivername}:// ({error}); install it, or name another "
            "in the URL",
            field="database_url",
        ) from None


def _open_file(url: URL) -> Engine:
    """An engine over a copy of the file as it is now, which is gone when the engine is. Whoever
    writes to the file would find it locked for as long as it is read."""
    path = Path(url.database or "")
    if not path.is_file():
        raise InvalidRequest(f"there is no file {url.database!r}", field="database_url")
    read_only = f"file:{quote(str(path.absolute()))}?mode=ro"
    return create_engine("sqlite://", poolclass=StaticPool, creator=lambda: _copy_of(read_only))


def _copy_of(uri: str) -> sqlite3.Connection:
    """A copy in a temporary file of SQLite's own, which no other connection can open."""
    with closing(sqlite3.connect(uri, uri=True)) as original:
        # Once it may be read it can be copied; `backup` itself would wait for that without a bound.
        original.execute("BEGIN")
        original.execute("SELECT count(*) FROM sqlite_master").fetchone()
        copy = sqlite3.connect("")
        original.backup(copy)
        return copy


def _check_schema(connection: Connection) -> None:
    found = inspect(connection)
    missing = [wanted.name for wanted in (_sessions, _events) if not found.has_table(wanted.name)]
    if missing:
        raise InvalidRequest(
            f"this is no database of google-adk: it has no table {missing[0]!r}",
            field="database_url",
        )
    columns = {entry["name"] for entry in found.get_columns("events")}
    if "event_data" not in columns and "actions" in columns:
        raise InvalidRequest(
            "this database has the schema of ADK before 1.22, whose events are pickled, and "
            "reading them could run what somebody has put there. Let ADK migrate it first: "
            "adk migrate session --source_db_url=... --dest_db_url=sqlite:///migrated.db, "
            "and then: zdk import adk sqlite:///migrated.db",
            field="database_url",
        )
    absent = {c.name for c in _events.c} - columns
    if absent:
        raise InvalidRequest(
            f"this is no database of google-adk: events has no column {min(absent)!r}",
            field="database_url",
        )
    if found.has_table(_metadata.name):
        _check_version(connection)


def _check_version(connection: Connection) -> None:
    entry = select(_metadata.c.value).where(_metadata.c.key == "schema_version")
    version = connection.execute(entry).scalar()
    if version != _READABLE_VERSION:
        raise InvalidRequest(
            f"this database has ADK's schema {version}; this release reads {_READABLE_VERSION}",
            field="database_url",
        )
