"""Brings the schema up to date, one worker at a time."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from api_client.contract.errors import Unavailable
from worker.database import Database
from worker.retry import with_retries

#: Any number will do, as long as all workers use the same.
_ADVISORY_LOCK = 0x5A444B
#: A migration of a large table may take long, and others wait for it.
_PATIENCE = "10min"


def upgrade(database: Database, *, patience: float = 0.0) -> str:
    """Migrate to the newest revision; return its name. Others doing the same wait their turn.

    Parameters:
        patience: seconds for which to wait for a database that is down.

    Raises:
        Unavailable: the database cannot be reached or refuses the change.
    """
    try:
        with_retries(lambda: _upgrade(database), patience=patience)
    except CommandError as error:
        raise Unavailable(
            f"the database's schema is not known to this release ({error}); upgrade zdk-storage",
            field="database_url",
        ) from error
    except DBAPIError as error:
        raise Unavailable(
            f"the database cannot be migrated: {error.orig}".strip(), field="database_url"
        ) from error
    return head()


def _upgrade(database: Database) -> None:
    config = _config()
    with database.write.begin() as connection:
        _take_turns(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def head() -> str:
    """The newest revision that this release knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
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
    try:
        with database.read.connect() as connection:
            return current(connection)
    except DBAPIError as error:
        raise Unavailable(
            f"the database cannot be reached: {error.orig}".strip(), field="database_url"
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config


def _take_turns(connection: Connection) -> None:
    """Wait for other migrations. On SQLite the write transaction has done so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{_PATIENCE}'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
