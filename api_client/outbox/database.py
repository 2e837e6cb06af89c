"""Opens the SQLite file of an outbox, and refuses one that is damaged."""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from api_client.outbox.wal import problem_of

#: Kept in the file's header, so that a later release knows what it opens.
FORMAT = 1

# The body comes last, because what follows a long one in its row is slow to read.
_SCHEMA = f"""
BEGIN;
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    message_id TEXT,
    added_at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX operations_by_message ON operations (message_id) WHERE message_id IS NOT NULL;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_WAL_BYTES = 4 * 1024 * 1024


class Damaged(Exception):
    """The file is no database any more, or not the one that was written."""


@dataclass(frozen=True)
class Totals:
    """What a file holds.

    Attributes:
        operations, bytes: all of them, and their bodies.
        waiting: operations that are in no message yet.
        last: the greatest row; 0 if there is none.
    """

    operations: int = 0
    bytes: int = 0
    waiting: int = 0
    last: int = 0


def connect(path: Path) -> tuple[sqlite3.Connection, Totals]:
    """Open the file at ``path``, made if it is not there, and say what it holds.

    Raises:
        Damaged: it must not be used; it is left as it was.
        sqlite3.Error, OSError: it cannot be opened for another reason.
    """
    _check_beside(path)
    # SQLite gives the files beside it the permissions of the file itself.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    found = _check(path) if path.stat().st_size else Totals()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection, found


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that may be in use, without changing it."""
    # Without a log nobody writes; told so, SQLite does not make one to find out.
    settled = "" if os.path.exists(f"{path}-wal") else "&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{settled}", uri=True)


def move_aside(path: Path) -> Path:
    """Give a damaged file, and what belongs to it, another name; return that."""
    moved = Path(f"{path}.damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%S.%fZ}")
    # The file itself last: as long as it is there, nobody begins a new one beside the others.
    for suffix in ("-wal", "-shm", "-journal", ".spool", ""):
        if os.path.lexists(f"{path}{suffix}"):
            os.rename(f"{path}{suffix}", f"{moved}{suffix}")
    return moved


def _check_beside(path: Path) -> None:
    """An outbox that is begun has nothing beside it yet. SQLite would remove the log beside an
    empty file, and the client the bytes of saves that are not in it."""
    if _size(path):
        return
    for beside in (Path(f"{path}-wal"), Path(f"{path}.spool")):
        if any(beside.iterdir()) if beside.is_dir() else _size(beside):
            raise Damaged(f"it is empty or gone, but {beside} is not")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _set_up(connection: sqlite3.Connection) -> None:
    new = _version(connection) < FORMAT
    if new:
        # Before anything is written; afterwards it has no effect, but is written all the same, for
        # which a full disk would have no room.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would do for a process that is killed, but can roll back on power loss
    # (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if new:
        connection.executescript(_SCHEMA)


def _check(path: Path) -> Totals:
    """Read the whole file, holding none of it.

    Only reading: a connection that may write would merge the log beside the file into it.
    """
    with closing(connect_to_read(path)) as connection:
        try:
            found = _checked(connection)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise Damaged(str(error)) from error
            raise
    if problem := problem_of(Path(f"{path}-wal")):
        raise Damaged(problem)
    return found


def _checked(connection: sqlite3.Connection) -> Totals:
    version = _version(connection)
    if version > FORMAT:
        raise sqlite3.DatabaseError(f"it was written by a later release (format {version})")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    # First, because another application's file is not ours to move, be it damaged or not.
    if tables and (version < FORMAT or "operations" not in tables):
        raise sqlite3.DatabaseError("it is a database, but not an outbox")
    # Not quick_check: that does not compare the message ids with their index.
    (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise Damaged(problem)
    if not tables:
        return Totals()
    connection.create_function("crc32", 2, zlib.crc32, deterministic=True)
    *totals, wrong = connection.execute(
        "SELECT count(*), total(length(body)), count(*) - count(message_id), max(id),"
        " total(crc32(body, id) <> crc) FROM operations"
    ).fetchone()
    if wrong:
        raise Damaged(f"{wrong:.0f} operations do not match their checksums")
    return Totals(*(int(total or 0) for total in totals))


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
