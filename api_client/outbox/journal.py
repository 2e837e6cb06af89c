"""What survives the process: the outbox in an SQLite file, or nothing of it in memory."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from api_client.contract.errors import Unavailable
from api_client.outbox.entries import Dispatch, Entry

_SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    id INTEGER PRIMARY KEY,
    message_id TEXT,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS operations_by_message ON operations (message_id)
    WHERE message_id IS NOT NULL;
"""
#: Kept in the file's header, so that a later release knows what it opens.
_FORMAT = 1


@dataclass(frozen=True)
class StoredOperation:
    """An operation found in the file: its place, the message it was packed into, its JSON."""

    id: int
    message_id: str | None
    body: bytes


@dataclass
class Changes:
    """What one turn of the outbox changes."""

    added: list[Entry] = field(default_factory=list)
    packed: list[Dispatch] = field(default_factory=list)
    confirmed: list[Dispatch] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.packed or self.confirmed)

    def of(self, home: Hashable) -> Changes:
        """Those that concern one home."""
        return Changes(
            [entry for entry in self.added if entry.home is home],
            [dispatch for dispatch in self.packed if dispatch.entries[0].home is home],
            [dispatch for dispatch in self.confirmed if dispatch.entries[0].home is home],
        )


class Journal(Protocol):
    """Keeps operations until they are confirmed."""

    #: Whether what has been committed survives this process.
    durable: bool

    def commit(self, changes: Changes) -> None:
        """Make ``changes`` last. Raises OSError or sqlite3.Error if that fails; none is made."""

    def load(self) -> Sequence[StoredOperation]:
        """The operations found on opening, in the order of issue.

        Raises Unavailable if the file is damaged.
        """

    def close(self) -> None:
        """Let go of the file."""

    def discard(self) -> None:
        """Let go of the file, which holds nothing any more, and remove it."""


class MemoryJournal:
    """Keeps nothing: the outbox lives as long as its process."""

    durable = False

    def commit(self, changes: Changes) -> None:
        """See `Journal.commit`."""

    def load(self) -> Sequence[StoredOperation]:
        """See `Journal.load`."""
        return ()

    def close(self) -> None:
        """See `Journal.close`."""

    def discard(self) -> None:
        """See `Journal.discard`."""


class FileJournal:
    """Keeps operations in an SQLite file with WAL and ``synchronous=FULL``.

    NORMAL would do for a process that is killed, but can roll back on power loss
    (https://www.sqlite.org/pragma.html#pragma_synchronous).

    Parameters:
        path: the file; its folder must exist. A lock on ``<path>.lock`` keeps others out.

    Raises:
        Unavailable: another client has the file open, or it cannot be opened.
    """

    durable = True

    def __init__(self, path: Path):
        self.path = path
        self._lock = lock_file(path)
        _open_journals.add(self)
        try:
            self._connection = _connect(path)
        except (sqlite3.Error, OSError) as error:
            self.unlock()
            raise _cannot_open(path, error) from error

    def commit(self, changes: Changes) -> None:
        """See `Journal.commit`. One transaction, one fsync."""
        message_ids = {e.row: d.id for d in changes.packed for e in d.entries}
        added = {entry.row for entry in changes.added}
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO operations (id, message_id, body) VALUES (?, ?, ?)",
                [(e.row, message_ids.get(e.row), e.body) for e in changes.added],
            )
            connection.executemany(
                "UPDATE operations SET message_id = ? WHERE id = ?",
                [(message, entry) for entry, message in message_ids.items() if entry not in added],
            )
            connection.executemany(
                "DELETE FROM operations WHERE message_id = ?",
                [(dispatch.id,) for dispatch in changes.confirmed],
            )

    def load(self) -> Sequence[StoredOperation]:
        """See `Journal.load`."""
        query = "SELECT id, message_id, body FROM operations ORDER BY id"
        try:
            return [StoredOperation(*row) for row in self._connection.execute(query)]
        except sqlite3.Error as error:
            raise _cannot_open(self.path, error) from error

    def close(self) -> None:
        """See `Journal.close`."""
        self._connection.close()
        self.unlock()

    def discard(self) -> None:
        """See `Journal.discard`."""
        self._connection.close()
        for suffix in ("", "-wal", "-shm", ".lock"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.unlock()

    def unlock(self) -> None:
        """Let others open the file."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


_open_journals: weakref.WeakSet[FileJournal] = weakref.WeakSet()


def _unlock_in_child() -> None:
    # A forked child shares the parent's locks, and would hold them after the parent's death.
    for journal in list(_open_journals):
        journal.unlock()


os.register_at_fork(after_in_child=_unlock_in_child)


def _cannot_open(path: Path, error: Exception) -> Unavailable:
    return Unavailable(
        f"the outbox {path} cannot be opened: {error}; it was left as it is. "
        "Move it aside to start with an empty one.",
        field="outbox",
    )


def lock_file(path: Path) -> int:
    """Take the lock of the outbox at ``path``; return its descriptor.

    Raises:
        Unavailable: another client holds it, or the folder cannot be written.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"the outbox {path} cannot be opened: {error}", field="outbox") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unavailable(
            f"the outbox {path} is in use by another client; close that one, give this one a "
            "file of its own, or give both a folder",
            field="outbox",
        ) from None
    return descriptor


def in_use(path: Path) -> bool:
    """Whether a client, of any process, has the outbox at ``path`` open."""
    try:
        os.close(lock_file(path))
    except Unavailable:
        return True
    return False


def _connect(path: Path) -> sqlite3.Connection:
    # SQLite gives the files beside it the permissions of the file itself.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _FORMAT:
            raise sqlite3.DatabaseError(f"it was written by a later release (format {version})")
        if version < _FORMAT:
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version={_FORMAT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
