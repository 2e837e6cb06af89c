"""A copy of an SQLite database, made and put back while others may have it open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.pool import NullPool

from api_client.contract.errors import InvalidRequest, Unavailable
from worker.database import Database

_SECONDS = 30.0


@contextmanager
def snapshot(database: Database, dump: Path) -> Iterator[Connection]:
    """Write a copy, and yield a connection to it.

    Raises:
        Unavailable: it fails.
    """
    try:
        with closing(sqlite3.connect(_path(database), timeout=_SECONDS)) as source:
            source.execute("VACUUM INTO ?", (str(dump),))
    except sqlite3.Error as error:
        raise Unavailable(f"the database cannot be copied: {error}") from error
    # Not through `Database`, which would make files beside it.
    engine = create_engine(
        f"sqlite:///file:{dump}?mode=ro&immutable=1&uri=true", poolclass=NullPool
    )
    with engine.connect() as connection:
        yield connection


def load(database: Database, dump: Path) -> None:
    """Replace what is in the database by a copy.

    Raises:
        Unavailable: somebody else writes to it, or it cannot be written.
    """
    try:
        with (
            closing(sqlite3.connect(f"file:{dump}?mode=ro&immutable=1", uri=True)) as source,
            closing(sqlite3.connect(_path(database), timeout=_SECONDS)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise Unavailable(f"the database cannot be written: {error}") from error


def _path(database: Database) -> str:
    if database.in_memory:
        raise InvalidRequest("a database in memory ends with its process", field="database_url")
    return str(make_url(database.options.url).database)
