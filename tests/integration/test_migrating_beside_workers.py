"""Migrations while workers run: of a later release, with indexes built beside them, and waiting for
tables without holding anybody up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from alembic.config import Config
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from api_client.contract.errors import InvalidRequest
from api_client.contract.records import new_id
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until
from worker import migrate
from worker.cli.migrate import migrate as migrate_command
from worker.cli.worker import _prepare_schema
from worker.database import Database, DatabaseOptions
from worker.settings import Settings

LATER = "9999"
MIGRATION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0999", "{head}"

def upgrade():
    op.add_column("events", sa.Column("kind", sa.Text()))
    with op.get_context().autocommit_block():
        op.create_index("ix_events_kind", "events", ["kind"], postgresql_concurrently=True)
"""


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    name = f"beside_{new_id()}"
    opened = Database(DatabaseOptions(postgres.create_database(name)))
    migrate.upgrade(opened)
    yield opened
    opened.close()
    postgres.drop_database(name)


@pytest.fixture
def with_one_more(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This release has a migration more: a column, and an index built beside the workers."""
    (tmp_path / "0999_more.py").write_text(MIGRATION.format(head=migrate.head()))
    original = migrate._config

    def config(output: StringIO | None = None) -> Config:
        found = original(output)
        own = f"{found.get_main_option('script_location')}/versions"
        found.set_main_option("path_separator", "space")
        found.set_main_option("version_locations", f"{own} {tmp_path}")
        return found

    monkeypatch.setattr(migrate, "_config", config)


def set_revision(database: Database, revision: str) -> None:
    with database.write.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


def run(database: Database, *arguments: str) -> SimpleNamespace:
    command = typer.Typer()
    command.command()(migrate_command)
    environment = {"ZDK_DATABASE_URL": database.options.url}
    done = CliRunner().invoke(command, arguments, env=environment)
    return SimpleNamespace(code=done.exit_code, text=done.output)


def prepare(database: Database, *, migrate_on_start: bool = False) -> None:
    """What a worker does before it starts."""
    url = database.options.url
    _prepare_schema(Settings(database_url=url, migrate_on_start=migrate_on_start))


@pytest.mark.parametrize("migrate_on_start", [False, True])
def test_a_worker_starts_on_the_schema_of_a_later_release(
    database: Database, migrate_on_start: bool
) -> None:
    set_revision(database, LATER)
    prepare(database, migrate_on_start=migrate_on_start)
    assert migrate.revision_of(database) == LATER
    assert run(database, "--check").code == 0
    assert "later release" in run(database).text
    assert migrate.revision_of(database) == LATER


def test_a_worker_refuses_an_older_schema_and_says_what_to_run(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    set_revision(database, "0001")
    with pytest.raises(typer.Exit) as caught:
        prepare(database)
    assert caught.value.exit_code == 5
    assert "run zdk migrate" in capsys.readouterr().err


def test_a_schema_that_is_none_of_ours_is_refused(database: Database) -> None:
    set_revision(database, "ab12")
    for attempt in (migrate.state_of, migrate.upgrade):
        with pytest.raises(InvalidRequest, match="ab12"):
            attempt(database)
    assert run(database, "--check").code == 2


@pytest.mark.usefixtures("with_one_more")
def test_check_lists_what_is_pending_and_changes_nothing(database: Database) -> None:
    done = run(database, "--check")
    assert (done.code, "0999" in done.text, "run zdk migrate" in done.text) == (1, True, True)
    sql = run(database, "--sql")
    assert "CREATE INDEX CONCURRENTLY" in sql.text
    assert "0999" not in str(migrate.revision_of(database))


@pytest.mark.usefixtures("with_one_more")
def test_two_that_build_an_index_beside_the_workers_take_turns(database: Database) -> None:
    # Whoever waited for the other within a statement would be waited for by the index: a deadlock.
    both = [database, Database(database.options)]
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(migrate.upgrade, both)]
    both[1].close()
    assert found == ["0999", "0999"]
    assert "ix_events_kind" in indexes(database)


@pytest.mark.usefixtures("with_one_more")
def test_a_migration_that_waits_for_a_table_lets_others_pass(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCK_TIMEOUT", "100ms")
    tried = threading.Event()
    original = migrate._upgrade

    def noted(of: Database, deadline: float) -> str:
        try:
            return original(of, deadline)
        except DBAPIError:
            tried.set()
            raise

    monkeypatch.setattr(migrate, "_upgrade", noted)
    with ThreadPoolExecutor(1) as pool:
        with database.read.connect() as reader:
            # A long query, a dump for example, holds this lock.
            reader.execute(text("SELECT count(*) FROM events"))
            migrating = pool.submit(migrate.upgrade, database)
            assert tried.wait(30)
            wait_until(lambda: readable(database), "another reader passes")
            assert not migrating.done()
        assert migrating.result(timeout=60) == "0999"


def readable(database: Database) -> bool:
    with database.read.connect() as other:
        return bool(other.scalar(text("SELECT count(*) = 0 FROM events")))


def indexes(database: Database) -> set[str | None]:
    with database.read.connect() as connection:
        return {found["name"] for found in inspect(connection).get_indexes("events")}
