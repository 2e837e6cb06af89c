"""Faults of PostgreSQL."""

from __future__ import annotations

import contextlib

import psycopg2

from tests.faults.attack import Steps, fault
from tests.faults.site import Site

_TABLES = ("sessions", "ledger", "events", "artifacts", "session_state")


@fault("database-crash", "database")
def database_crash(site: Site) -> Steps:
    """SIGKILL of all of PostgreSQL, which then recovers."""
    site.postgres.crash()
    try:
        yield site.dice.uniform(0.2, 3.0)
    finally:
        site.postgres.start()


@fault("terminate-backends", "database")
def terminate_backends(site: Site) -> Steps:
    """All connections are ended, whatever they are doing."""
    with contextlib.closing(site.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'zdk-storage'"
        )
    yield 0


@fault("exhaust-connections", "database")
def exhaust_connections(site: Site) -> Steps:
    """All connections that PostgreSQL allows are taken, and the workers' ended."""
    with contextlib.ExitStack() as taken:
        ended = False
        while True:
            try:
                connection = taken.enter_context(contextlib.closing(site.connect()))
            except psycopg2.OperationalError:
                break
            if not ended:
                ended = True
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'zdk-storage'"
                    )
        yield site.dice.uniform(1.0, 4.0)


@fault("lock-table", "database")
def lock_table(site: Site) -> Steps:
    """Somebody locks a whole table for longer than workers wait for a lock."""
    table = site.dice.choice(_TABLES)
    with contextlib.closing(site.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        cursor.execute("BEGIN")
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield site.dice.uniform(1.0, 5.0)


@fault("lock-rows", "database")
def lock_rows(site: Site) -> Steps:
    """Somebody holds the rows of some sessions."""
    with contextlib.closing(site.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        cursor.execute("BEGIN")
        cursor.execute("SELECT pk FROM sessions WHERE pk % 2 = 0 FOR UPDATE")
        yield site.dice.uniform(1.0, 5.0)
