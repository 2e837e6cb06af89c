"""Locks that tests hold, so that a worker waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select, text

from tests.support.waiting import wait_until
from worker.database import Database, DatabaseOptions
from worker.schema import sessions


@contextmanager
def held_sessions(database_url: str) -> Iterator[None]:
    """Hold the row locks of all sessions in a PostgreSQL database."""
    database = Database(DatabaseOptions(database_url))
    try:
        with database.write.begin() as connection:
            connection.execute(select(sessions.c.pk).with_for_update())
            yield
    finally:
        database.close()


def wait_for_waiters(database_url: str, count: int = 1) -> None:
    """Wait until so many of a PostgreSQL database's connections wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    database = Database(DatabaseOptions(database_url))

    def enough() -> bool:
        with database.write.connect() as connection:
            return int(connection.scalar(waiting) or 0) >= count

    try:
        wait_until(enough, f"{count} connections wait for a lock")
    finally:
        database.close()
