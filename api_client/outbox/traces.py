"""The traces that operations in an outbox file belong to (docs/decisions/0029).

They are in a table of their own, which is made when the first traced operation comes. Releases
that do not know it leave it alone. Each names its operation by row and checksum, because such a
release may have used the row again.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

_TABLE = """
CREATE TABLE IF NOT EXISTS traces (
    id INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL,
    traceparent TEXT NOT NULL
) STRICT
"""


def has_traces(connection: sqlite3.Connection) -> bool:
    """Whether the file has the table."""
    query = "SELECT 1 FROM sqlite_schema WHERE name = 'traces'"
    return connection.execute(query).fetchone() is not None


def add_traces(connection: sqlite3.Connection, traces: Sequence[tuple[int, bytes, str]]) -> None:
    """Note the traces of operations, each given with its row and body; make the table if it is
    not there. The caller begins and commits."""
    connection.execute(_TABLE)
    connection.executemany(
        "INSERT OR REPLACE INTO traces (id, crc, traceparent) VALUES (?, ?, ?)",
        [(row, zlib.crc32(body, row), trace) for row, body, trace in traces],
    )


def trace_of(connection: sqlite3.Connection, row: int) -> str | None:
    """The trace of an operation. The file must have the table."""
    query = "SELECT traceparent FROM traces JOIN operations USING (id, crc) WHERE id = ?"
    found = connection.execute(query, (row,)).fetchone()
    return None if found is None else str(found[0])


def remove_traces(connection: sqlite3.Connection) -> None:
    """Remove those whose operations have gone. The caller begins and commits."""
    connection.execute(
        "DELETE FROM traces WHERE NOT EXISTS"
        " (SELECT 1 FROM operations WHERE operations.id = traces.id)"
    )
