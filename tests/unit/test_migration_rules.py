"""Migrations add first and take away a release later, and none locks a table for long."""

from __future__ import annotations

from importlib.resources import files

import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from tests.support.migration_rules import violations
from worker.migrate import offline_sql

#: The last migration before the first release; there was nobody whom it could have held up.
LAST_FREE = "0002"


def scripts() -> list[Script]:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return [*reversed([*ScriptDirectory.from_config(config).walk_revisions()])]


def test_migrations_keep_the_rules() -> None:
    for script in (found for found in scripts() if found.revision > LAST_FREE):
        before = script.down_revision
        assert isinstance(before, str)
        contract = getattr(script.module, "contract", False)
        sql = offline_sql("postgresql", before, script.revision).partition(";")[2]
        assert violations(sql, contract=contract) == [], script.revision


def test_migrations_are_numbered_in_one_line() -> None:
    found = [script.revision for script in scripts()]
    assert found == [f"{number:04}" for number in range(1, len(found) + 1)]


def test_the_first_schema_keeps_them_too_because_its_tables_are_new() -> None:
    assert violations(offline_sql("postgresql", None).partition(";")[2]) == []


def test_sql_for_others_waits_for_no_table() -> None:
    assert offline_sql("postgresql", "0001").startswith("SET lock_timeout")


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE events ADD COLUMN kind TEXT",
        "ALTER TABLE events ADD COLUMN kind TEXT DEFAULT 'x' NOT NULL",
        "ALTER TABLE events ADD COLUMN at TIMESTAMP DEFAULT now() NOT NULL",
        "CREATE INDEX CONCURRENTLY i ON events (kind)",
        "CREATE TABLE more (a TEXT NOT NULL); CREATE INDEX i ON more (a)",
        "ALTER TABLE events ADD CONSTRAINT u UNIQUE USING INDEX i",
        "ALTER TABLE events VALIDATE CONSTRAINT c",
        "UPDATE alembic_version SET version_num='0003' WHERE version_num = '0002'",
    ],
)
def test_what_may_be_done(sql: str) -> None:
    assert violations(sql) == []


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE events",
        "DROP INDEX CONCURRENTLY i",
        "ALTER TABLE events DROP COLUMN size",
        "ALTER TABLE events DROP CONSTRAINT pk_events",
        "ALTER TABLE events ALTER COLUMN size SET NOT NULL",
        "ALTER TABLE events ADD CONSTRAINT c CHECK (size > 0) NOT VALID",
    ],
)
def test_what_only_a_contract_step_may_do(sql: str) -> None:
    assert len(violations(sql)) == 1
    assert violations(sql, contract=True) == []


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE events RENAME size TO bytes",
        "ALTER TABLE events RENAME TO happenings",
        "ALTER TABLE events ALTER COLUMN size TYPE BIGINT",
        "CREATE INDEX i ON events (size)",
        "CREATE UNIQUE INDEX i ON events (size)",
        "DROP INDEX i",
        "ALTER TABLE events ADD COLUMN kind TEXT NOT NULL",
        "ALTER TABLE events ADD COLUMN kind UUID DEFAULT gen_random_uuid()",
        "ALTER TABLE events ADD COLUMN at TIMESTAMP DEFAULT clock_timestamp() NOT NULL",
        "ALTER TABLE events ADD COLUMN n BIGINT GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE events ADD CONSTRAINT u UNIQUE (size)",
        "ALTER TABLE events ADD CONSTRAINT f FOREIGN KEY (size) REFERENCES x (y)",
        "ALTER TABLE events ADD CONSTRAINT c CHECK (size > 0)",
        "UPDATE events SET size = 1",
        "DELETE FROM events",
        "TRUNCATE events",
        "LOCK TABLE events",
        "SET lock_timeout = '1h'",
    ],
)
@pytest.mark.parametrize("contract", [False, True])
def test_what_no_step_may_do(sql: str, contract: bool) -> None:
    assert len(violations(sql, contract=contract)) >= 1
