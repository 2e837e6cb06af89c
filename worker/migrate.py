"""Brings the schema up to date, one process at a time, without holding up workers for long.

Revisions are numbered, so a database whose revision has a higher number than all of this release's
belongs to a later release. Those only add (docs/upgrading.md), so this one goes on working on it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from api_client.contract.errors import InvalidRequest, Unavailable
from worker.database import Database
from worker.retry import with_retries

#: Any number will do, as long as all processes use the same.
_ADVISORY_LOCK = 0x5A444B
#: A migration of a large table may take long, and others wait for it: seconds.
_PATIENCE = 600.0
#: Seconds between two tries to be the one who migrates.
_PAUSE = 0.2
#: While a change waits for a table, everybody who comes later waits behind it. So it gives up soon,
#: and tries again.
_LOCK_TIMEOUT = "2s"
#: https://www.postgresql.org/docs/16/errcodes-appendix.html: lock_not_available.
_LOCKED = "55P03"


@dataclass(frozen=True)
class Step:
    """A migration. Attributes: its number, and what it does."""

    revision: str
    title: str


@dataclass(frozen=True)
class State:
    """How a database stands to this release.

    Attributes:
        revision: the database's; None if it has no schema yet.
        pending: the migrations that it lacks, in order.
        newer: whether it belongs to a later release.
    """

    revision: str | None
    pending: tuple[Step, ...]
    newer: bool = False


def upgrade(database: Database, *, patience: float = 0.0) -> str:
    """Migrate to the newest revision; return the revision. Others doing the same wait their turn.

    A database of a later release is left as it is.

    Parameters:
        patience: seconds for which to wait for a database that is down.

    Raises:
        Unavailable: the database cannot be reached, refuses the change, or somebody else has been
            migrating it for ten minutes; on SQLite, writing to it for the time of the lock timeout.
        InvalidRequest: its revision is none of ours.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return with_retries(lambda: _upgrade(database, deadline), patience=patience)
        except DBAPIError as error:
            locked = getattr(error.orig, "pgcode", None) == _LOCKED
            if not locked or time.monotonic() > deadline:
                raise Unavailable(
                    f"the database cannot be migrated: {error.orig}".strip(), field="database_url"
                ) from error
        time.sleep(random.uniform(_PAUSE, 5 * _PAUSE))


def _upgrade(database: Database, deadline: float) -> str:
    with _alone(database, deadline) as connection:
        before = _state(current(connection))
        # Each migration has a transaction of its own, which must not begin within this one.
        if not _in_one_transaction(connection):
            connection.commit()
        if before.pending:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return before.revision if before.newer and before.revision else head()


def head() -> str:
    """The newest revision that this release knows."""
    found = _scripts().get_current_head()
    assert found is not None
    return found


def current(connection: Connection) -> str | None:
    """The revision of a database; None if it has no schema yet."""
    return MigrationContext.configure(connection).get_current_revision()


def revision_of(database: Database) -> str | None:
    """The same, over a connection of its own.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.reached() as connection:
        return current(connection)


def state_of(database: Database) -> State:
    """How a database stands to this release.

    Raises:
        Unavailable: it cannot be reached.
        InvalidRequest: its revision is none of ours.
    """
    return _state(revision_of(database))


def offline_sql(dialect: str, revision: str | None, to: str = "head") -> str:
    """The SQL that leads from one revision to another, for somebody else to run.

    Parameters:
        dialect: ``postgresql`` or ``sqlite``.
        revision: where to begin; None for an empty database.
    """
    config = _config(found := StringIO())
    config.attributes["dialect"] = dialect
    command.upgrade(config, f"{revision}:{to}" if revision else to, sql=True)
    timeout = f"SET lock_timeout = '{_LOCK_TIMEOUT}';\n\n" if dialect == "postgresql" else ""
    return timeout + found.getvalue()


def _state(revision: str | None) -> State:
    scripts = _scripts()
    steps = [Step(s.revision, s.doc) for s in reversed([*scripts.walk_revisions()])]
    names = [step.revision for step in steps]
    if revision is None:
        return State(None, tuple(steps))
    if revision in names:
        return State(revision, tuple(steps[names.index(revision) + 1 :]))
    if revision.isdigit() and revision > names[-1]:
        return State(revision, (), newer=True)
    raise InvalidRequest(
        f"the database's schema, revision {revision}, is not known to this release; give it a "
        "database of its own, or upgrade zdk-storage",
        field="database_url",
    )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config(output: StringIO | None = None) -> Config:
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(files("migrations")))
    return config


def _in_one_transaction(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


@contextmanager
def _alone(database: Database, deadline: float) -> Iterator[Connection]:
    """A connection on which nobody else migrates meanwhile.

    On SQLite a write transaction sees to that. On PostgreSQL a lock of the session does, because
    CREATE INDEX CONCURRENTLY cannot run in a transaction; and it is asked for again and again
    rather than waited for, because that command waits for all statements that are older than it,
    also for one that waits for a lock.
    """
    if database.dialect == "sqlite":
        with database.write.begin() as connection:
            yield connection
        return
    with database.write.connect() as connection:
        try:
            _take_turns(connection, deadline)
            yield connection
        finally:
            # What was set here, the lock too, ends with the connection.
            connection.invalidate()


def _take_turns(connection: Connection, deadline: float) -> None:
    connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(text("SET statement_timeout = 0"))
    while not connection.scalar(text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")):
        connection.commit()
        if time.monotonic() > deadline:
            raise Unavailable(
                "somebody else has been migrating this database for ten minutes; wait for it",
                field="database_url",
            )
        time.sleep(_PAUSE)
    connection.commit()
