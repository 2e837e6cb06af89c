"""Checks of everything a deployment needs, each with what to do when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from celery import Celery
from redis import Redis
from sqlalchemy import text

from api_client.contract.records import new_id
from worker.app import make_app
from worker.artifacts.blobs import open_blob_store
from worker.database import Database
from worker.migrate import head, state_of
from worker.roundtrip import round_trip
from worker.settings import Settings

#: Seconds to wait for the broker and for Redis.
_CONNECT_SECONDS = 3

#: How many connections to PostgreSQL there are, and how many it gives to ordinary users.
_CONNECTIONS = text(
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
    " current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int"
    " - coalesce(current_setting('reserved_connections', true)::int, 0)"
)


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        name: of the part: broker, results, database, schema, blob store, round trip.
        ok: True, False, or None if it was not tried.
        detail: what was seen.
        advice: what to do, if it failed.
    """

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class _Check:
    name: str
    run: Callable[[], str]
    advice: str
    needs: tuple[str, ...] = ()


#: The names of all checks.
CHECKS = ("broker", "results", "database", "schema", "blob store", "round trip")


def examine(settings: Settings, *, timeout: float, skip: frozenset[str]) -> Iterator[Finding]:
    """Run the checks one after another, and yield what each has found.

    Parameters:
        timeout: seconds for the round trip.
        skip: names of checks to leave out.
    """
    broken: set[str] = set()
    for check in _checks(settings, timeout):
        if check.name in skip:
            yield Finding(check.name, None, "skipped")
            continue
        missing = [name for name in check.needs if name in broken]
        if missing:
            broken.add(check.name)
            yield Finding(check.name, None, f"not tried, because of: {', '.join(missing)}")
            continue
        finding = _run(check)
        if not finding.ok:
            broken.add(check.name)
        yield finding


def _run(check: _Check) -> Finding:
    try:
        return Finding(check.name, True, check.run())
    except Exception as error:
        # Whatever goes wrong here is what the check is for.
        detail = str(getattr(error, "orig", error)).strip() or type(error).__name__
        return Finding(check.name, False, detail, check.advice)


def _checks(settings: Settings, timeout: float) -> list[_Check]:
    app = make_app(settings)
    # Made inside the checks, because a malformed URL is a finding too.
    return [
        _Check(
            "broker",
            lambda: _broker(app),
            "start the broker, or correct ZDK_BROKER_URL; for a trial, zdk up starts one",
        ),
        _Check(
            "results",
            lambda: _results(settings.results),
            "start Redis, or correct ZDK_RESULT_URL (unset, it is ZDK_BROKER_URL)",
        ),
        _Check(
            "database",
            lambda: _database(settings),
            "start the database, or correct ZDK_DATABASE_URL",
        ),
        _Check(
            "schema",
            lambda: _schema(settings),
            "run zdk migrate; if it says that it does not know the schema, upgrade zdk-storage",
            needs=("database",),
        ),
        _Check(
            "blob store",
            lambda: _blob_store(settings.artifacts_url),
            "make the folder writable for this user, free some space, or correct ZDK_ARTIFACTS_URL",
        ),
        _Check(
            "round trip",
            lambda: round_trip(app, timeout=timeout),
            "start a worker with the same environment: zdk worker; if one runs, look at its log",
            needs=("broker", "results", "database", "schema"),
        ),
    ]


def _broker(app: Celery) -> str:
    with app.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_CONNECT_SECONDS)
        return str(connection.as_uri())


def _results(url: str) -> str:
    with Redis.from_url(
        url, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_CONNECT_SECONDS
    ) as redis:
        key = f"zdk:doctor:{new_id()}"
        redis.set(key, "1", ex=60)
        if redis.get(key) != b"1":
            raise RuntimeError("Redis did not return what was written")
        redis.delete(key)
        version = redis.info("server").get("redis_version")
    return f"writable, version {version}"


def _database(settings: Settings) -> str:
    database = Database(settings.database)
    try:
        with database.read.connect() as connection:
            connection.execute(text("SELECT 1"))
            if database.dialect != "postgresql":
                return f"{database.dialect} answers"
            taken, most = connection.execute(_CONNECTIONS).one()
    finally:
        database.close()
    own = settings.pool_size + settings.pool_overflow
    return f"postgresql answers; {taken} of {most} connections taken, a process takes up to {own}"


def _schema(settings: Settings) -> str:
    database = Database(settings.database)
    try:
        state = state_of(database)
    finally:
        database.close()
    if state.pending:
        raise RuntimeError(f"revision {state.revision or 'none'}, this release needs {head()}")
    if state.newer:
        return f"revision {state.revision}, of a later release than this one ({head()})"
    return f"revision {state.revision}"


def _blob_store(url: str) -> str:
    open_blob_store(url).check()
    return "writable"
