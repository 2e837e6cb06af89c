"""PostgreSQL and Valkey for one run, in a temporary folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from redis import Redis

from tests.support.postgres import PostgresServer
from worker.embedded.valkey import EmbeddedValkey

#: 8 clients of a plain Celery task and 16 of each framework, pools and workers, at the same time.
_CONNECTIONS = 200


class Servers:
    """A PostgreSQL with its default settings (fsync and synchronous_commit on) and a Valkey with an
    append-only file, started when first asked for.

    Parameters:
        folder: for their data, on a real disk.
    """

    def __init__(self, folder: Path):
        self._postgres = PostgresServer(
            folder / "postgres", settings={"max_connections": str(_CONNECTIONS)}
        )
        self._valkey = EmbeddedValkey(folder / "valkey")
        self._started: set[object] = set()
        self._ending = contextlib.ExitStack()

    @property
    def postgres(self) -> PostgresServer:
        """The database server, started."""
        self._start(self._postgres)
        return self._postgres

    @property
    def valkey(self) -> EmbeddedValkey:
        """The broker, started."""
        self._start(self._valkey)
        return self._valkey

    def database(self, name: str) -> str:
        """Create a database, in place of one of that name, and return its SQLAlchemy URL."""
        self.postgres.drop_database(name)
        return self.postgres.create_database(name)

    def broker(self, number: int) -> str:
        """The URL of one of Valkey's databases, emptied.

        Parameters:
            number: from 0 to 15.
        """
        url = f"{self.valkey.url.removesuffix('/0')}/{number}"
        with Redis.from_url(url) as connection:
            connection.flushdb()
        return url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.close()

    def _start(self, server: PostgresServer | EmbeddedValkey) -> None:
        if server not in self._started:
            self._ending.enter_context(server)
            self._started.add(server)


def plain_url(database_url: str) -> str:
    """A SQLAlchemy URL as libpq reads it."""
    return database_url.replace("+psycopg2", "")


def async_url(database_url: str) -> str:
    """The same database through asyncpg, for SQLAlchemy."""
    return database_url.replace("+psycopg2", "+asyncpg")


def execute(database_url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with contextlib.closing(psycopg2.connect(plain_url(database_url))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
