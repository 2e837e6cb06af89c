"""Checks of everything a deployment needs, each with what to do when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api_client.contract.queues import is_amqp
from api_client.contract.records import new_id
from api_client.contract.server_url import check_tls_files
from worker.app import make_app
from worker.artifacts.blobs import open_blob_store
from worker.broker.declared_queues import unacknowledged_too_long
from worker.database import Database
from worker.database.connections import taken_and_most
from worker.database.errors import in_words
from worker.migrate import head, state_of
from worker.roundtrip import round_trip
from worker.safety import check as safety
from worker.safety.rules import Risk
from worker.settings import Settings

#: Seconds to wait for the broker and for Redis.
_CONNECT_SECONDS = 3


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        name: of the part: one of `CHECKS`.
        ok: True, False, or None if it was not tried.
        detail: what was seen.
        advice: what to do, if it failed.
        risks: what endangers data although it works.
    """

    name: str
    ok: bool | None
    detail: str
    advice: str = ""
    risks: tuple[Risk, ...] = ()


class _Unsafe(Exception):
    """Something works and endangers data."""

    def __init__(self, detail: str, risks: tuple[Risk, ...]):
        super().__init__(detail)
        self.risks = risks


@dataclass(frozen=True)
class _Check:
    name: str
    run: Callable[[], str]
    advice: str
    needs: tuple[str, ...] = ()


#: Runs one check.
Probe = Callable[[], Finding]

#: The names of all checks.
CHECKS = ("broker", "results", "safety", "database", "schema", "blob store", "round trip")


def examine(
    settings: Settings, *, timeout: float, skip: frozenset[str], strict: bool = False
) -> Iterator[Finding]:
    """Run the checks one after another, and yield what each has found.

    Parameters:
        timeout: seconds for the round trip.
        skip: names of checks to leave out.
        strict: whether a check that has found risks has failed.
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
        finding = _run(check, strict)
        if not finding.ok:
            broken.add(check.name)
        yield finding


def probes(settings: Settings) -> dict[str, Probe]:
    """The checks of what a worker cannot do without, by name, each by itself and to be run again
    and again."""
    checks = _checks(settings, timeout=0.0)
    left_out = ("safety", "round trip")
    return {check.name: partial(_run, check) for check in checks if check.name not in left_out}


def _run(check: _Check, strict: bool = False) -> Finding:
    try:
        return Finding(check.name, True, check.run())
    except _Unsafe as error:
        return Finding(check.name, not strict, str(error), risks=error.risks)
    except Exception as error:
        # Whatever goes wrong here is what the check is for.
        said = in_words(error) if isinstance(error, DBAPIError) else " ".join(str(error).split())
        return Finding(check.name, False, said or type(error).__name__, check.advice)


def _checks(settings: Settings, timeout: float) -> list[_Check]:
    app = make_app(settings)
    # Made inside the checks, because a malformed URL is a finding too.
    return [
        _Check(
            "broker",
            lambda: _broker(app, settings),
            "start the broker, or correct ZDK_BROKER_URL; for a trial, zdk up starts one",
        ),
        _Check(
            "results",
            lambda: _results(settings.results),
            "start Redis, give it memory or disk if it refuses writes, or correct ZDK_RESULT_URL "
            "(unset, it is ZDK_BROKER_URL)",
        ),
        _Check(
            "safety",
            lambda: _safety(settings),
            "allow the user of ZDK_BROKER_URL and ZDK_RESULT_URL the command INFO",
            needs=("broker", "results"),
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


def _broker(app: Celery, settings: Settings) -> str:
    check_tls_files(settings.broker_url)
    with app.connection_for_write(connect_timeout=_CONNECT_SECONDS) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_CONNECT_SECONDS)
        if is_amqp(settings.broker_url):
            # What a worker would find only once it starts, such as a queue of another type.
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).declare()
        warning = unacknowledged_too_long(settings)
        return "; ".join(filter(None, (str(connection.as_uri()), warning)))


def _results(url: str) -> str:
    check_tls_files(url)
    with Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_CONNECT_SECONDS,
        # By default it tries ten times, and waits each time.
        retry=Retry(NoBackoff(), 0),
    ) as redis:
        key = f"zdk:doctor:{new_id()}"
        redis.set(key, "1", ex=60)
        if redis.get(key) != b"1":
            raise RuntimeError("Redis did not return what was written")
        redis.delete(key)
        version = redis.info("server").get("redis_version")
    return f"writable, version {version}"


def _safety(settings: Settings) -> str:
    found = safety.examine(settings.broker_url, settings.results)
    if trouble := [f"{part.part}: {part.trouble}" for part in found if part.trouble]:
        raise RuntimeError("; ".join(trouble))
    untold = [f"{name} could not be checked" for part in found for name in part.unknowns]
    if risks := tuple(risk for part in found for risk in part.risks):
        raise _Unsafe("; ".join([f"{len(risks)} found", *untold]), risks)
    seen = [f"{part.part} {_kept_by(part)}" for part in found]
    return "; ".join([*seen, *untold])


def _kept_by(part: safety.Examined) -> str:
    facts = part.facts
    if facts is None:
        return "is no Redis and was not checked"
    if not facts.aof:
        return f"keeps nothing over a restart, which it need not; {facts.policy}"
    return f"keeps an append-only file, fsync {facts.appendfsync or 'unknown'}; {facts.policy}"


def _database(settings: Settings) -> str:
    database = Database(settings.database)
    try:
        with database.read.connect() as connection:
            connection.execute(text("SELECT 1"))
            if database.dialect != "postgresql":
                return f"{database.dialect} answers"
            taken, most = taken_and_most(connection)
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
