"""Looks at the broker, at the workers and at the database, each by a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection, func, select, text

from worker.broker.queues import BrokerState, open_queues
from worker.database import Database, DatabaseOptions
from worker.database.connections import taken_and_most
from worker.environment.server_urls import is_redis
from worker.presence.beats import SeenWorker, read_workers
from worker.schema import dead_letters
from worker.top.states import BrokerLook, DatabaseLook, MemoryState, NewestDeadLetter

#: Seconds to wait for a connection, and for each answer.
_SECONDS = 2.0


def broker_looks(url: str) -> Callable[[], BrokerLook]:
    """A function that looks at the broker at ``url``. It raises what the driver does."""
    queues = open_queues(url)
    redis = _open(url) if is_redis(url) else None

    def look() -> BrokerLook:
        state = queues.look()
        return BrokerLook(
            queues=state.queues,
            unacknowledged=state.unacknowledged,
            lag=None if redis is None else _lag(state),
            memory=None if redis is None else _memory(redis),
        )

    return look


def worker_looks(result_url: str) -> Callable[[], list[SeenWorker]]:
    """A function that looks for workers in the Redis of the results. It raises likewise."""
    redis = _open(result_url)
    return lambda: read_workers(redis)


def database_looks(options: DatabaseOptions) -> Callable[[], DatabaseLook]:
    """A function that looks at the database. It raises likewise."""
    bounded = replace(
        options,
        pool_size=1,
        pool_overflow=0,
        # The connection may have been lost since the last look.
        pool_pre_ping=True,
        connect_timeout=_SECONDS,
        statement_timeout=_SECONDS,
        lock_timeout=_SECONDS,
    )
    database = Database(bounded)

    def look() -> DatabaseLook:
        with database.read.connect() as connection:
            return _database(connection)

    return look


def _open(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=_SECONDS,
        socket_connect_timeout=_SECONDS,
        # For a connection that was lost since the last look.
        retry=Retry(NoBackoff(), 1),
    )


def _lag(state: BrokerState) -> float:
    ages = [queue.oldest for queue in state.queues]
    if state.unacknowledged is not None:
        ages.append(state.unacknowledged.oldest)
    return max((age for age in ages if age is not None), default=0.0)


def _memory(redis: Redis) -> MemoryState:
    info = redis.info("memory")
    return MemoryState(
        int(info["used_memory"]), int(info["maxmemory"]), str(info["maxmemory_policy"])
    )


def _database(connection: Connection) -> DatabaseLook:
    dialect = connection.dialect.name
    taken, most = taken_and_most(connection) if dialect == "postgresql" else (None, None)
    newest = connection.execute(
        select(dead_letters.c.failed_at, dead_letters.c.code)
        .order_by(dead_letters.c.pk.desc())
        .limit(1)
    ).first()
    return DatabaseLook(
        dialect=dialect,
        size=_size(connection),
        dead_letters=connection.scalar(select(func.count()).select_from(dead_letters)) or 0,
        newest=None if newest is None else NewestDeadLetter(newest.failed_at, newest.code),
        connections=taken,
        most_connections=most,
    )


def _size(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        statement = "SELECT pg_database_size(current_database())"
    else:
        statement = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    return int(connection.scalar(text(statement)) or 0)
