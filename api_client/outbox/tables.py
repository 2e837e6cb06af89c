"""What stands in the SQLite file of an outbox (docs/decisions/0022)."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, groupby

#: Kept in the file's header, so that a later release knows what it opens. Format 1 had no table of
#: messages: each operation named its own.
FORMAT = 2

# The body comes last, because what follows a long one in its row is slow to read.
_OPERATIONS = """
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    added_at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""
# `rows` is a JSON array: the ids of the operations, in their order in the message. Those of a
# confirmed message are done, and are removed later, together with others.
_MESSAGES = """
CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    confirmed INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    rows TEXT NOT NULL
) WITHOUT ROWID, STRICT;
"""
#: Operations that one statement inserts. Each step of SQLite lets go of Python's lock, and a thread
#: that computes gives it back after some milliseconds only.
_ROWS_AT_ONCE = (256, 32, 4, 1)
_NEW = f"BEGIN; {_OPERATIONS} {_MESSAGES} PRAGMA user_version = {FORMAT}; COMMIT;"


def version_of(connection: sqlite3.Connection) -> int:
    """The format of a file; 0 if it is empty, or not an outbox."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, in one transaction."""
    connection.executescript(_NEW)


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring a file of format 1 to the present one, in one transaction.

    The column in which an operation named its message stays, and is not read any more: to remove
    it, SQLite would write the whole file anew.
    """
    packed = (
        "SELECT message_id, id FROM operations WHERE message_id IS NOT NULL ORDER BY message_id, id"
    )
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_MESSAGES)
        found = connection.execute(packed)
        messages = groupby(found, lambda row: str(row[0]))
        add_messages(connection, [(name, [row for _, row in group]) for name, group in messages])
        connection.execute("DROP INDEX operations_by_message")
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def add_operations(
    connection: sqlite3.Connection, added_at: int, operations: Sequence[tuple[int, bytes]]
) -> None:
    """Add operations, each with its id and its body, that came at the time ``added_at``."""
    first = 0
    for size in _ROWS_AT_ONCE:
        while len(operations) - first >= size:
            rows = (
                (row, added_at, zlib.crc32(body, row), body)
                for row, body in operations[first : first + size]
            )
            connection.execute(_insert_operations(size), [*chain.from_iterable(rows)])
            first += size


def add_messages(connection: sqlite3.Connection, messages: Iterable[tuple[str, list[int]]]) -> None:
    """Add messages that are on their way, each with the ids of its operations."""
    texts = ((message, json.dumps(rows, separators=(",", ":"))) for message, rows in messages)
    connection.executemany(
        "INSERT INTO messages (id, confirmed, crc, rows) VALUES (?, 0, ?, ?)",
        [
            (message, message_crc(message.encode(), 0, rows.encode()), rows)
            for message, rows in texts
        ],
    )


def confirm_messages(connection: sqlite3.Connection, messages: Iterable[str]) -> None:
    """Note that messages are done."""
    connection.executemany(
        "UPDATE messages SET confirmed = 1, crc = crc + 1 WHERE id = ? AND NOT confirmed",
        [(message,) for message in messages],
    )


def message_crc(message: bytes, confirmed: int, rows: bytes) -> int:
    """The checksum of a message's row. To confirm a message is to add one to it."""
    return zlib.crc32(b"%b %b" % (message, rows)) + confirmed


def remove_confirmed(connection: sqlite3.Connection) -> None:
    """Remove confirmed messages with their operations. The caller begins and commits."""
    connection.execute(
        "DELETE FROM operations WHERE id IN"
        " (SELECT value FROM messages, json_each(rows) WHERE confirmed)"
    )
    connection.execute("DELETE FROM messages WHERE confirmed")


@cache
def _insert_operations(count: int) -> str:
    values = ",".join(["(?, ?, ?, ?)"] * count)
    return f"INSERT INTO operations (id, added_at, crc, body) VALUES {values}"
