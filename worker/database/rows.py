"""Multi-row statements, in a form that is fast on PostgreSQL and one that SQLite understands.

Each statement is made once and then reused with other rows: SQLAlchemy compiles a statement once,
but would compile one with its rows written into it each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Insert,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    column,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")

#: Rows in one statement.
ROWS_PER_STATEMENT = 3000


def chunks(items: Sequence[T], size: int = ROWS_PER_STATEMENT) -> Iterator[Sequence[T]]:
    """``items`` in pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_into(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of the dialect, for its ON CONFLICT clause."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def find_rows(
    connection: Connection,
    columns: tuple[Column[Any], ...],
    keys: Sequence[tuple[Any, ...]],
    *more: Column[Any],
) -> Iterator[Row[Any]]:
    """The rows of one table whose ``columns`` equal one of ``keys``: those and ``more`` of them."""
    dialect = connection.dialect.name
    for part in chunks(keys):
        yield from connection.execute(
            _find(dialect, columns, more), _wanted_rows(dialect, columns, part)
        )


def lock_rows(
    connection: Connection, columns: tuple[Column[Any], ...], keys: Sequence[tuple[Any, ...]]
) -> Iterator[Row[Any]]:
    """The whole rows of one table whose ``columns`` equal one of ``keys``, locked one after the
    other in the order of ``columns``.

    Parameters:
        keys: sorted, so that the order is one from first to last.
    """
    dialect = connection.dialect.name
    if len(keys) == 1:
        wanted = {f"wanted_{c.name}": value for c, value in zip(columns, keys[0], strict=True)}
        yield from connection.execute(_lock_one(columns), wanted)
        return
    for part in chunks(keys):
        yield from connection.execute(_lock(dialect, columns), _wanted_rows(dialect, columns, part))


def insert_new(
    connection: Connection, columns: tuple[Column[Any], ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows of one table that are not there.

    Parameters:
        columns: those that are given.

    Raises:
        sqlalchemy.exc.IntegrityError: one of them is there, and none was inserted.
    """
    names = [column.name for column in columns]
    values = [dict(zip(names, row, strict=True)) for row in rows]
    connection.execute(_insert(table_of(columns)), values)


def insert_missing(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    returning: Column[Any],
) -> set[Any]:
    """Insert the rows that conflict with none; return one column of those inserted."""
    if not rows:
        return set()
    statement = _insert_missing(connection.dialect.name, table, returning)
    return {*connection.execute(statement, list(rows)).scalars()}


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    replace: Sequence[str],
) -> None:
    """Insert the rows, replacing the columns ``replace`` where the primary key exists.

    Parameters:
        rows: the values of all columns.
    """
    if rows:
        names = table.columns.keys()
        values = [dict(zip(names, row, strict=True)) for row in rows]
        connection.execute(_upsert(connection.dialect.name, table, tuple(replace)), values)


def delete_rows(
    connection: Connection, columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]
) -> None:
    """Delete the rows of one table whose ``columns`` equal one of ``rows``."""
    dialect, chosen = connection.dialect.name, tuple(columns)
    for part in chunks(rows):
        connection.execute(_delete(dialect, chosen), _wanted_rows(dialect, chosen, part))


@cache
def _find(
    dialect: str, columns: tuple[Column[Any], ...], more: tuple[Column[Any], ...]
) -> Select[Any]:
    rows, match = _wanted(dialect, columns)
    return select(*columns, *more).join(rows, onclause=match)


@cache
def _lock(dialect: str, columns: tuple[Column[Any], ...]) -> Select[Any]:
    rows, match = _wanted(dialect, columns)
    table = table_of(columns)
    found = select(table).join(rows, onclause=match).order_by(*columns)
    return found.with_for_update(of=table)


@cache
def _lock_one(columns: tuple[Column[Any], ...]) -> Select[Any]:
    # The same for one key, which takes two thirds of the time: there is no join to be planned.
    table = table_of(columns)
    match = (c == bindparam(f"wanted_{c.name}", type_=c.type) for c in columns)
    return select(table).where(*match).with_for_update(of=table)


@cache
def _delete(dialect: str, columns: tuple[Column[Any], ...]) -> Delete:
    # With EXISTS, SQLite would look through all wanted rows for each row of the table.
    rows, _ = _wanted(dialect, columns)
    return table_of(columns).delete().where(tuple_(*columns).in_(select(*rows.c)))


def _wanted(
    dialect: str, columns: tuple[Column[Any], ...]
) -> tuple[FromClause, ColumnElement[bool]]:
    """A table ``wanted`` to join with, its columns named and typed as ``columns``, and where it
    matches them. Its rows are given when the statement is executed, by `_wanted_rows`.

    A join is looked up row by row in an index, where a long IN list of tuples becomes a long OR.
    """
    if dialect == "postgresql":
        arrays = [bindparam(f"wanted_{c.name}", type_=ARRAY(c.type)) for c in columns]
        made = func.unnest(*arrays).table_valued(*(column(c.name, c.type) for c in columns))
        rows: FromClause = made.render_derived(name="wanted")
    else:
        each = func.json_each(bindparam("wanted_rows", type_=Text)).table_valued(
            "value", name="each"
        )
        cells = (
            func.json_extract(each.c.value, f"$[{place}]", type_=c.type).label(c.name)
            for place, c in enumerate(columns)
        )
        rows = select(*cells).select_from(each).cte("wanted")
    return rows, and_(*(c == rows.c[c.name] for c in columns))


def _wanted_rows(
    dialect: str, columns: tuple[Column[Any], ...], rows: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """The parameters with which a statement that uses `_wanted` is executed."""
    if dialect == "postgresql":
        cells = zip(*rows, strict=True)
        return {f"wanted_{c.name}": [*values] for c, values in zip(columns, cells, strict=True)}
    return {"wanted_rows": msgspec.json.encode(rows).decode()}


@cache
def _insert(table: Table) -> Insert:
    # Without a default for a key that is not given, nothing comes back.
    return table.insert().inline()


@cache
def _insert_missing(dialect: str, table: Table, returning: Column[Any]) -> Any:
    return insert_into(dialect, table).on_conflict_do_nothing().returning(returning)


@cache
def _upsert(dialect: str, table: Table, replace: tuple[str, ...]) -> Any:
    keys = list(table.primary_key.columns)
    statement = insert_into(dialect, table)
    statement = statement.on_conflict_do_update(
        index_elements=keys,
        set_={name: statement.excluded[name] for name in replace},
    )
    # Without RETURNING, SQLAlchemy sends such a statement row by row.
    return statement.returning(keys[0])


def table_of(columns: Sequence[Column[Any]]) -> Table:
    """The table that ``columns`` belong to."""
    table = columns[0].table
    assert isinstance(table, Table)
    return table
