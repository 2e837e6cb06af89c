"""Multi-row statements that PostgreSQL and SQLite both understand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import CTE, Column, Connection, Table, column, values
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

#: Rows in one statement: SQLite allows 32,766 bound values, and no table here has ten columns.
ROWS_PER_STATEMENT = 3000


def chunks(items: Sequence[T], size: int = ROWS_PER_STATEMENT) -> Iterator[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_into(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of the dialect in use, for its ON CONFLICT clause."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def values_table(columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]) -> CTE:
    """``rows`` as a table named ``wanted`` to join with, its columns typed as ``columns``.

    A join with VALUES is looked up row by row in an index, where a long IN list of tuples
    becomes a long OR.
    """
    typed = values(*(column(c.name, c.type) for c in columns), name="wanted")
    return typed.data([tuple(row) for row in rows]).cte("wanted")


def insert_missing(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    returning: Sequence[Column[Any]],
) -> list[Any]:
    """Insert the rows that conflict with none; return ``returning`` of those inserted."""
    if not rows:
        return []
    statement = insert_into(connection, table).on_conflict_do_nothing().returning(*returning)
    return list(connection.execute(statement, list(rows)))


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    replace: Sequence[str],
) -> None:
    """Insert the rows, replacing the columns ``replace`` where the primary key exists."""
    if not rows:
        return
    keys = list(table.primary_key.columns)
    statement = insert_into(connection, table)
    statement = statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: statement.excluded[name] for name in replace},
    )
    # Without RETURNING, SQLAlchemy sends such a statement row by row.
    connection.execute(statement.returning(keys[0]), list(rows))


def delete_rows(
    connection: Connection, columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]
) -> None:
    """Delete the rows of one table whose ``columns`` equal one of ``rows``."""
    table = columns[0].table
    assert isinstance(table, Table)
    for part in chunks(rows):
        wanted = values_table(columns, part)
        match = [c == wanted.c[c.name] for c in columns]
        connection.execute(table.delete().where(wanted.select().where(*match).exists()))
