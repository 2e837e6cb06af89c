"""Runs revisions on the connection it is given, or on ``ZDK_DATABASE_URL`` for Alembic's own
command line (``alembic -c migrations/alembic.ini revision --autogenerate -m ...``)."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from worker.database import Database
from worker.schema import metadata
from worker.settings import Settings


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        # What was done stays done if the next one must wait for a table, and an autocommit block
        # (CREATE INDEX CONCURRENTLY) needs it.
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _print_sql(dialect: str) -> None:
    context.configure(
        dialect_name=dialect,
        literal_binds=True,
        transactional_ddl=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    _print_sql(context.config.attributes["dialect"])
elif given is not None:
    _run(given)
else:
    with Database(Settings().database).write.begin() as own:
        _run(own)
