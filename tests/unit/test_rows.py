"""Rows are found by an index, in SQLite too; `test_explain` is about PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, event

from worker.database import Database, DatabaseOptions
from worker.database.rows import delete_rows
from worker.schema import metadata, sessions, user_state


@pytest.mark.parametrize(
    "columns", [(sessions.c.pk,), tuple(user_state.primary_key.columns)], ids=["one", "several"]
)
def test_rows_are_deleted_by_an_index(columns: tuple[Column[Any], ...]) -> None:
    plans: list[str] = []
    database = Database(DatabaseOptions("sqlite://"))

    def explain(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        plans.extend(
            step[-1] for step in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        )

    with database.write.begin() as connection:
        metadata.create_all(connection)
        event.listen(connection, "before_cursor_execute", explain)
        delete_rows(connection, columns, [[1] * len(columns), [2] * len(columns)])
    database.close()
    table = columns[0].table.name
    assert any(plan.startswith(f"SEARCH {table} USING") for plan in plans)
    assert not any(plan.startswith(f"SCAN {table}") for plan in plans)
