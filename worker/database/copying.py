"""Rows into PostgreSQL by COPY, which plans nothing and parses little."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from itertools import starmap
from typing import Any

from sqlalchemy import Connection

from worker.database.driver import driver_cursor


def copy_rows(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert ``rows`` into a table within the caller's transaction.

    Parameters:
        table, columns: plain names, which need no quotes.
        rows: text, integers and points in time.

    Raises:
        sqlalchemy.exc.DBAPIError: the database refuses them, or is in trouble.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    lines = "".join(starmap(_line, rows)).encode()
    with driver_cursor(connection, statement) as cursor:
        cursor.copy_expert(statement, io.BytesIO(lines))


def _line(*values: Any) -> str:
    return "\t".join(map(_escaped, values)) + "\n"


def _escaped(value: object) -> str:
    """A value in COPY's text format (https://www.postgresql.org/docs/16/sql-copy.html)."""
    if not isinstance(value, str):
        return str(value)
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\t" in value or "\n" in value or "\r" in value:
        value = value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value
