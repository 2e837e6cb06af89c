"""What a person is told of an error of the database: one line, and what to do."""

from __future__ import annotations

import sqlite3

import psycopg2
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.database.errors import in_words

_ADVICE = "; if zdk migrate --check says that the schema is behind, run zdk migrate"


class OfServer(psycopg2.ProgrammingError):
    """An error with a state of the server's."""

    def __init__(self, state: str, message: str):
        super().__init__(message)
        self._state = state

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self._state


def wrapped(error: Exception) -> DBAPIError:
    return OperationalError("SELECT secret", None, error)


@pytest.mark.parametrize(
    ("state", "advice"), [("42P01", _ADVICE), ("42703", _ADVICE), ("40001", ""), ("53300", "")]
)
def test_a_schema_that_is_not_there(state: str, advice: str) -> None:
    assert in_words(wrapped(OfServer(state, "the reason"))) == f"the reason{advice}"


@pytest.mark.parametrize("column", ["missing", "one"])
def test_a_schema_that_is_not_there_in_sqlite(column: str) -> None:
    with create_engine("sqlite://").connect() as connection:
        if column == "missing":
            connection.execute(text("CREATE TABLE sessions (one INTEGER)"))
        with pytest.raises(OperationalError) as caught:
            connection.execute(text(f"SELECT {column} FROM sessions"))
    said = in_words(caught.value)
    assert said.startswith("no such ")
    assert said.endswith(_ADVICE)


def test_one_line_whatever_the_driver_says() -> None:
    refused = psycopg2.OperationalError("connection failed: refused\n\tIs the server running?\n")
    assert in_words(wrapped(refused)) == "connection failed: refused Is the server running?"
    assert in_words(wrapped(sqlite3.OperationalError(""))) == "OperationalError"
