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
        connection=connection, target_metadata=metadata, transactional_ddl=True, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with Database(Settings().database).write.begin() as own:
        _run(own)
