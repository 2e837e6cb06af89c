"""What a transaction writes, in few round trips.

Statements that give nothing back are gathered and sent together, which for one operation takes a
third of the time: the database answers each in less time than the way there and back takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import ARRAY, Column, Connection, Table
from sqlalchemy.dialects import postgresql

from worker.database.copying import copy_rows
from worker.database.driver import driver_cursor
from worker.database.rows import chunks, insert_new, table_of, upsert

#: Rows that are worth a COPY, which takes half of what any INSERT takes, but a round trip of its
#: own (docs/decisions/0015).
_WORTH_COPYING = 5

#: A column of a table.
AnyColumn = Column[Any]


class Writes:
    """Rows to be written within the caller's transaction: at once on SQLite, which is in the same
    process, and no later than `execute` on PostgreSQL.

    Parameters:
        connection: in a transaction.
    """

    def __init__(self, connection: Connection):
        self._connection = connection
        self._is_remote = connection.dialect.name == "postgresql"
        self._statements: list[str] = []
        self._parameters: list[list[list[Any]]] = []

    def insert_new(self, columns: tuple[AnyColumn, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows of one table that are not there.

        Parameters:
            columns: those that are given.
            rows: their values: text, integers and points in time.

        Raises, as `execute` does:
            sqlalchemy.exc.IntegrityError: one of them is there, and none was inserted.
        """
        if not rows:
            return
        if not self._is_remote:
            insert_new(self._connection, columns, rows)
        elif len(rows) < _WORTH_COPYING:
            self._add(_insert(columns, ()), rows)
        else:
            # What was to be written before may be what these rows refer to.
            self.execute()
            names = [column.name for column in columns]
            copy_rows(self._connection, table_of(columns).name, names, rows)

    def upsert(self, table: Table, rows: Sequence[tuple[Any, ...]], replace: Sequence[str]) -> None:
        """Insert rows, replacing the columns ``replace`` where the primary key exists.

        Parameters:
            rows: the values of all columns.
        """
        if not self._is_remote:
            upsert(self._connection, table, rows, replace)
            return
        for part in chunks(rows):
            self._add(_insert(tuple(table.columns), tuple(replace)), part)

    def execute(self) -> None:
        """Send what has gathered.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refuses some of it, or is in trouble.
        """
        if not self._statements:
            return
        statements, self._statements = self._statements, []
        parameters, self._parameters = self._parameters, []
        with driver_cursor(self._connection, ";\n".join(statements)) as cursor:
            cursor.execute(b";\n".join(map(cursor.mogrify, statements, parameters)))

    def _add(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._statements.append(statement)
        self._parameters.append([[*values] for values in zip(*rows, strict=True)])


@cache
def _insert(columns: tuple[AnyColumn, ...], replace: tuple[str, ...]) -> str:
    """An INSERT whose parameters are one array for each column."""
    dialect: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
    table, names = table_of(columns), ", ".join(column.name for column in columns)
    arrays = ", ".join(f"%s::{ARRAY(column.type).compile(dialect)}" for column in columns)
    statement = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"
    if replace:
        keys = ", ".join(column.name for column in table.primary_key.columns)
        changes = ", ".join(f"{name} = excluded.{name}" for name in replace)
        statement += f" ON CONFLICT ({keys}) DO UPDATE SET {changes}"
    return statement
