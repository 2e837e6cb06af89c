"""Reads a whole outbox file, and says what it holds, or how it is damaged."""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass

import msgspec

from api_client.outbox.tables import FORMAT, message_crc, version_of


class Damaged(Exception):
    """The file is no database any more, or not the one that was written."""


@dataclass(frozen=True)
class Totals:
    """What a file holds.

    Attributes:
        operations, bytes: those without an outcome, and their bodies.
        waiting: operations that are in no message yet.
        last: the greatest row; 0 if there is none.
    """

    operations: int = 0
    bytes: int = 0
    waiting: int = 0
    last: int = 0


def check(connection: sqlite3.Connection) -> Totals:
    """Read all of an outbox, whatever its format, and hold none of it.

    Raises:
        Damaged: it is not what was written.
        sqlite3.DatabaseError: SQLite says so, or it is not an outbox of this or a former release.
    """
    version = version_of(connection)
    if version > FORMAT:
        raise sqlite3.DatabaseError(f"it was written by a later release (format {version})")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    needed = {"operations"} if version == 1 else {"operations", "messages"}
    # First, because another application's file is not ours to move, be it damaged or not.
    if tables and not (version and needed <= tables):
        raise sqlite3.DatabaseError("it is a database, but not an outbox")
    # Not quick_check: that does not compare the message ids of format 1 with their index.
    (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise Damaged(problem)
    if not tables:
        return Totals()
    operations, size, last = _operations(connection)
    if version == 1:
        (packed,) = connection.execute("SELECT count(message_id) FROM operations").fetchone()
        return Totals(operations, size, operations - packed, last)
    _check_messages(connection)
    packed, confirmed, confirmed_size = _packed(connection)
    return Totals(operations - confirmed, size - confirmed_size, operations - packed, last)


def _operations(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many there are, the bytes of their bodies, and the last row."""
    connection.create_function("crc32", 2, zlib.crc32, deterministic=True)
    count, size, last, wrong = connection.execute(
        "SELECT count(*), total(length(body)), max(id), total(crc32(body, id) <> crc)"
        " FROM operations"
    ).fetchone()
    if wrong:
        raise Damaged(f"{wrong:.0f} operations do not match their checksums")
    return count, int(size), last or 0


def _check_messages(connection: sqlite3.Connection) -> None:
    # As bytes, because a changed one may be no text.
    query = "SELECT CAST(id AS BLOB), confirmed, crc, CAST(rows AS BLOB) FROM messages"
    wrong = 0
    for message, confirmed, crc, rows in connection.execute(query):
        if message_crc(message, confirmed, rows) != crc:
            wrong += 1
        elif not _is_list(rows):
            raise Damaged(f"message {message.decode()} does not say which operations it holds")
    if wrong:
        raise Damaged(f"{wrong} messages do not match their checksums")


def _is_list(rows: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(rows, type=list[int]))
    except msgspec.DecodeError:
        return False


def _packed(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """How many operations are in messages; in confirmed ones, and the bytes of those."""
    packed, different, found, confirmed, size = connection.execute(
        "SELECT count(*), count(DISTINCT value), count(operations.id), total(confirmed),"
        " total(confirmed * length(body))"
        " FROM messages, json_each(rows) LEFT JOIN operations ON operations.id = value"
    ).fetchone()
    if different < packed:
        raise Damaged(f"{packed - different} operations are in more than one message")
    if found < packed:
        raise Damaged(f"{packed - found} operations that messages hold are not there")
    return packed, int(confirmed), int(size)
