"""Statements that PostgreSQL plans once for each connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Connection,
    Text,
    bindparam,
    cast,
    event,
    literal,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError

from tests.support.postgres import PostgresServer
from worker.database import Database, DatabaseOptions, prepared
from worker.database.prepared import Prepared


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Database]:
    opened = Database(DatabaseOptions(postgres.create_database("prepared"), pool_size=1))
    yield opened
    opened.close()
    postgres.drop_database("prepared")


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.single() as opened:
        opened.exec_driver_sql("DEALLOCATE ALL")
        opened.info.clear()
        yield opened


@pytest.fixture
def seen(connection: Connection) -> Iterator[list[str]]:
    """The first word of each statement."""
    words: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        words.append(statement.split()[0])

    event.listen(connection, "before_cursor_execute", note)
    yield words
    event.remove(connection, "before_cursor_execute", note)


def twice() -> Prepared:
    number = cast(bindparam("number"), BigInteger)
    text = cast(bindparam("text"), Text)
    # A percent sign means something to the driver.
    percent: Any = literal_column("'100 %'", Text)
    columns: Any = select((number * 2).label("double"), text.label("text"), percent.label("p"))
    return Prepared(columns)


def test_it_is_prepared_once(connection: Connection, seen: list[str]) -> None:
    statement = twice()
    for number in range(3):
        (row,) = statement.execute(connection, {"number": number, "text": "it's %s"})
        assert (row.double, row.text, row.p) == (2 * number, "it's %s", "100 %")
    assert seen == ["PREPARE", "EXECUTE", "EXECUTE", "EXECUTE"]


def test_it_is_planned_again_after_a_while(
    connection: Connection, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = twice()
    statement.execute(connection, {"number": 1, "text": ""})
    monkeypatch.setattr(prepared, "_PLAN_SECONDS", 0.0)
    statement.execute(connection, {"number": 1, "text": ""})
    assert seen == ["PREPARE", "EXECUTE", "DEALLOCATE", "EXECUTE"]


def test_two_statements_do_not_mix(connection: Connection) -> None:
    one, other = (Prepared(select(literal(text, Text))) for text in ("one", "other"))
    for _ in range(2):
        assert one.execute(connection, {}) == [("one",)]
        assert other.execute(connection, {}) == [("other",)]


@pytest.mark.parametrize("stranger", ["knows it not", "has it already"])
def test_behind_a_pooler_it_is_executed_as_it_is(
    connection: Connection, seen: list[str], stranger: str
) -> None:
    statement = twice()
    statement.execute(connection, {"number": 1, "text": ""})
    # As if the pooler had put another connection in the place of this one,
    if stranger == "knows it not":
        connection.exec_driver_sql("DEALLOCATE ALL")
    else:
        connection.info.clear()
    (row,) = statement.execute(connection, {"number": 2, "text": "a"})
    assert (row.double, row.text) == (4, "a")
    # and from then on.
    del seen[:]
    statement.execute(connection, {"number": 3, "text": "b"})
    assert seen == ["SELECT"]


def test_its_own_errors_are_raised(connection: Connection) -> None:
    with pytest.raises(DBAPIError, match="out of range"):
        twice().execute(connection, {"number": 2**62, "text": ""})
    assert twice().execute(connection, {"number": 1, "text": ""})
