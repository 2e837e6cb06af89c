"""The migrated schema is the fresh schema, and migrating at the same time does no harm."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from api_client.contract.records import new_id
from tests.support.postgres import PostgresServer
from worker.database import Database, DatabaseOptions
from worker.migrate import current, head, revision_of, upgrade
from worker.schema import metadata

MakeDatabase = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeDatabase]:
    opened: list[Database] = []

    def make() -> Database:
        name = f"migrations_{new_id().replace('-', '')}"
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / name}.db"
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.create_database(name)
        opened.append(Database(DatabaseOptions(url)))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def describe(connection: Connection) -> dict[str, object]:
    """Everything the database itself knows of the schema."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master ORDER BY name"))
        # Only the order of a table's clauses may differ.
        return {
            name: sorted(line.strip(" \t,") for line in (sql or "").splitlines())
            for name, sql in rows
            if "alembic" not in name
        }
    inspector = inspect(connection)
    columns = text(
        "SELECT table_name, column_name, data_type, is_nullable, collation_name, is_identity "
        "FROM information_schema.columns WHERE table_schema = 'public' "
        "AND table_name <> 'alembic_version' ORDER BY 1, 2"
    )
    indexes = text(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "AND tablename <> 'alembic_version' ORDER BY 1"
    )
    tables = [name for name in inspector.get_table_names() if name != "alembic_version"]
    return {
        "columns": [tuple(row) for row in connection.execute(columns)],
        "indexes": [row[0] for row in connection.execute(indexes)],
        "foreign keys": {name: inspector.get_foreign_keys(name) for name in tables},
    }


def test_migrated_schema_equals_fresh_schema(make_database: MakeDatabase) -> None:
    migrated, fresh = make_database(), make_database()
    upgrade(migrated)
    with fresh.write.begin() as connection:
        metadata.create_all(connection)
    with migrated.read.connect() as left, fresh.read.connect() as right:
        assert describe(left) == describe(right)


def test_alembic_finds_nothing_to_add(make_database: MakeDatabase) -> None:
    database = make_database()
    upgrade(database)
    with database.read.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_two_workers_migrating_at_once_take_turns(make_database: MakeDatabase) -> None:
    database = make_database()
    other = Database(database.options)
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def migrate(own: Database) -> None:
        together.wait(timeout=10)
        try:
            upgrade(own)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate, args=(own,)) for own in (database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    other.close()
    assert failures == []
    assert revision_of(database) == head()


def test_a_migration_waits_for_who_holds_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its switch to a write-ahead log is refused at once, whatever the lock timeout."""
    path = tmp_path / "new.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE other (x)")
    holder.execute("BEGIN IMMEDIATE")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if holder.in_transaction:
            holder.rollback()

    monkeypatch.setattr(time, "sleep", pause)
    with closing(holder):
        database = Database(DatabaseOptions(url=f"sqlite:///{path}"))
        with closing(database):
            assert upgrade(database) == head()
    assert pauses


def test_upgrading_again_changes_nothing(make_database: MakeDatabase) -> None:
    database = make_database()
    upgrade(database)
    upgrade(database)
    with database.read.connect() as connection:
        assert current(connection) == head()
