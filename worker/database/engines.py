"""Engines: pooled PostgreSQL, SQLite in a file, SQLite in memory."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg2 import ProgrammingError
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from api_client.contract.errors import InvalidRequest, Unavailable
from worker.database.driver import driver_of
from worker.database.errors import in_words

_LAST_PORT = 65535
#: Seconds at most between two tries to switch a new SQLite file to a write-ahead log.
_SWITCH_PAUSE = 0.02


@dataclass(frozen=True)
class DatabaseOptions:
    """How to reach the database.

    Attributes:
        url: ``postgresql+psycopg2://...``, ``sqlite:///path`` or ``sqlite://`` (in memory).
        pool_size: connections kept open. No more are opened than are used at once: by the client's
            own form of the worker at most four. A worker's settings have a smaller default.
        pool_overflow: further connections under load, closed afterwards.
        pool_timeout: seconds to wait for a free connection.
        pool_pre_ping: whether to test a connection before each use.
        statement_timeout: seconds until PostgreSQL cancels a statement.
        lock_timeout: seconds to wait for a row lock, or for SQLite's write lock.
        connect_timeout: seconds to wait for PostgreSQL to accept a connection.
    """

    url: str
    pool_size: int = 5
    pool_overflow: int = 10
    pool_timeout: float = 30.0
    pool_pre_ping: bool = False
    statement_timeout: float = 30.0
    lock_timeout: float = 10.0
    connect_timeout: float = 5.0


class Database:
    """One pool, and the two ways in which this project uses it.

    Attributes:
        write: an engine whose transactions may write. On SQLite they take the write lock at
            their start, because a lock upgraded later fails instead of waiting.
        read: an engine whose transactions see one snapshot.
        in_memory: whether it is an SQLite database that ends with this process.
    """

    def __init__(self, options: DatabaseOptions):
        """Prepare the pool; no connection is made yet.

        Raises:
            InvalidRequest: the URL is malformed or of an unsupported database.
        """
        url = parse_url(options.url)
        self.options = options
        self.dialect = url.get_backend_name()
        self.in_memory = self.dialect == "sqlite" and is_memory(url)
        if self.dialect == "sqlite":
            self._engine = _sqlite_engine(url, options)
            self.write = self._engine.execution_options(begin="BEGIN IMMEDIATE")
            self.read = self._engine.execution_options(begin="BEGIN")
        else:
            self._engine = _postgresql_engine(url, options)
            self.write = self._engine.execution_options()
            self.read = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """A connection for one statement that reads, which sees one snapshot by itself.

        On PostgreSQL without a transaction, which would take two round trips more. SQLAlchemy's own
        way of doing that takes one, to set back what it has set.
        """
        if self.dialect == "sqlite":
            with self.read.connect() as connection:
                yield connection
            return
        with self._engine.connect() as connection:
            driver = driver_of(connection)
            driver.autocommit = True
            try:
                yield connection
            finally:
                if not driver.closed:
                    driver.autocommit = False

    @contextmanager
    def reached(self) -> Iterator[Connection]:
        """A connection that reads, for whoever tells people what is wrong.

        Raises:
            Unavailable: the database cannot be reached, or refuses what is read.
        """
        try:
            with self.read.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise Unavailable(
                f"the database cannot be reached: {in_words(error)}", field="database_url"
            ) from error

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()

    def __repr__(self) -> str:
        return f"Database({self._engine.url.render_as_string(hide_password=True)})"


def parse_url(text: str) -> URL:
    """The URL of a supported database; ``postgres://`` and ``postgresql://`` mean psycopg2.

    Raises:
        InvalidRequest: it is malformed or of an unsupported database.
    """
    try:
        url = make_url(text)
        if not 0 <= (url.port or 0) <= _LAST_PORT:
            raise ValueError
    except (ArgumentError, ValueError):
        raise InvalidRequest(
            "the database URL is malformed; examples: "
            "postgresql+psycopg2://user:password@host:5432/name, sqlite:///path.db",
            field="database_url",
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg2")
    if url.drivername not in ("postgresql+psycopg2", "sqlite", "sqlite+pysqlite"):
        raise InvalidRequest(
            f"unsupported database {url.drivername!r}; use postgresql+psycopg2 or sqlite",
            field="database_url",
        )
    if url.get_backend_name() == "postgresql":
        _check_options(url)
    return url


def _check_options(url: URL) -> None:
    """Refuse options that libpq does not know, which it would say at each connection, as if the
    server were away."""
    try:
        make_dsn(**{name: str(value) for name, value in url.query.items()})
    except ProgrammingError as error:
        raise InvalidRequest(f"the database URL: {error}".strip(), field="database_url") from None


def is_memory(url: URL) -> bool:
    """Whether an SQLite URL means a database in memory."""
    return not url.database or url.database == ":memory:" or "mode=memory" in str(url)


def _postgresql_engine(url: URL, options: DatabaseOptions) -> Engine:
    settings = {
        "statement_timeout": round(options.statement_timeout * 1000),
        "lock_timeout": round(options.lock_timeout * 1000),
        # A worker that hangs inside a transaction must not hold its row locks for ever.
        "idle_in_transaction_session_timeout": round(options.statement_timeout * 2000),
        # Of statements that are prepared; see `worker.database.prepared`.
        "plan_cache_mode": "force_generic_plan",
    }
    return create_engine(
        url,
        pool_size=options.pool_size,
        max_overflow=options.pool_overflow,
        pool_timeout=options.pool_timeout,
        pool_pre_ping=options.pool_pre_ping,
        # What is written must not stand in errors, and with them in logs.
        hide_parameters=True,
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "connect_timeout": max(1, round(options.connect_timeout)),
            "application_name": "zdk-storage",
            "keepalives_idle": 30,
        },
    )


def _use_wal(cursor: sqlite3.Cursor, *, patience: float) -> None:
    """Switch the file to a write-ahead log, unless it has one.

    SQLite does not wait for its lock where two connections could wait for each other, as two do
    that switch the same new file.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # The higher bits tell kinds of it apart: https://www.sqlite.org/rescode.html
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0, _SWITCH_PAUSE))


def _sqlite_engine(url: URL, options: DatabaseOptions) -> Engine:
    memory = is_memory(url)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        # Each connection to :memory: would be a database of its own, so there is exactly one,
        # and the pool hands it from thread to thread.
        pool_size=1 if memory else options.pool_size,
        max_overflow=0 if memory else options.pool_overflow,
        pool_timeout=options.pool_timeout,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": options.lock_timeout},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        # The driver's own transaction handling starts transactions late and commits before
        # DDL; with None it leaves BEGIN to us.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_wal(cursor, patience=options.lock_timeout)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine
