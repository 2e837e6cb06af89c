"""Opens the SQLite file of an outbox, and refuses one that is damaged."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from api_client.outbox.check import Damaged, Totals, check
from api_client.outbox.tables import FORMAT, create, remove_confirmed, upgrade, version_of
from api_client.outbox.wal import problem_of

#: Of the write-ahead log: pages (of 4 KiB) from which on it is merged into the file, and bytes that
#: it may keep after that.
_WAL_PAGES = 250
_WAL_BYTES = 4 * 1024 * 1024


def connect(path: Path) -> tuple[sqlite3.Connection, Totals]:
    """Open the file at ``path``, made if it is not there, and say what it holds.

    A file of a former release is brought to the present format.

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
    version = version_of(connection)
    if not version:
        # Before anything is written; afterwards it has no effect, but is written all the same, for
        # which a full disk would have no room.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would do for a process that is killed, but can roll back on power loss
    # (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute("PRAGMA synchronous = FULL")
    # A log that is written over from its beginning is synced in half the time of one that grows.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    # Some builds of SQLite overwrite each page that becomes free. FAST overwrites only in pages
    # that are written anyway; the file is its owner's alone.
    connection.execute("PRAGMA secure_delete = FAST")
    if not version:
        create(connection)
    elif version < FORMAT:
        upgrade(connection)
    elif connection.execute("SELECT 1 FROM messages WHERE confirmed").fetchone():
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            remove_confirmed(connection)


def _check(path: Path) -> Totals:
    """What the file at ``path`` holds.

    Only reading: a connection that may write would merge the log beside the file into it.
    """
    with closing(connect_to_read(path)) as connection:
        try:
            found = check(connection)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise Damaged(str(error)) from error
            raise
    if problem := problem_of(Path(f"{path}-wal")):
        raise Damaged(problem)
    return found
