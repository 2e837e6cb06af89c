"""What survives the process: the outbox in an SQLite file, or nothing of it in memory."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api_client.contract.errors import Unavailable
from api_client.outbox.age import oldest_id
from api_client.outbox.changes import Changes
from api_client.outbox.check import Damaged, Totals
from api_client.outbox.database import connect, move_aside
from api_client.outbox.entries import Dispatch
from api_client.outbox.locks import lock_file
from api_client.outbox.tables import (
    add_messages,
    add_operations,
    confirm_messages,
    remove_confirmed,
)
from api_client.outbox.traces import add_traces, has_traces, remove_traces, trace_of

#: Free pages (of 4 KiB) that a file may keep for what comes next, and how many it gives back in
#: one step.
_FREE_PAGES = 1000
_PAGES_AT_ONCE = 500
#: Operations of confirmed messages, and bytes of those messages, that are removed in one step: the
#: more there are, the more of them are neighbours in the file, and leave whole pages empty.
_FINISHED_OPERATIONS = 4000
_FINISHED_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class StoredOperation:
    """An operation in the file: its place, the message it was packed into, its JSON, its trace."""

    id: int
    message_id: str | None
    body: bytes
    trace: str | None = None


class Journal(Protocol):
    """Keeps operations until they are confirmed.

    Attributes:
        name: for people.
        durable: whether what has been committed survives this process.
        found: what was in it when it was opened.
    """

    name: str
    durable: bool
    found: Totals

    def commit(self, changes: Changes) -> None:
        """Make ``changes`` last. Raises OSError or sqlite3.Error if that fails; none is made."""

    def packed(self) -> Iterator[StoredOperation]:
        """The operations that are in messages, message by message, each in the order of issue."""

    def waiting(self, after: int, operations: int, size: int) -> list[StoredOperation]:
        """The next operations that are in no message, in the order of issue.

        Parameters:
            after: the row before them.
            operations: at most so many.
            size: no more once they have so many bytes.
        """

    def holds(self, row: int) -> bool:
        """Whether there is an operation in this row."""

    def tidy(self) -> bool:
        """Give a part of the disk that is not needed back; whether there is more to give."""

    def close(self) -> None:
        """Let go of the file."""

    def discard(self) -> None:
        """Let go of the file, which holds nothing any more, and remove it."""


class MemoryJournal:
    """Keeps nothing: the outbox lives as long as its process."""

    name = "in memory"
    durable = False
    found = Totals()

    def commit(self, changes: Changes) -> None:
        """See `Journal.commit`."""

    def packed(self) -> Iterator[StoredOperation]:
        """See `Journal.packed`."""
        return iter(())

    def waiting(self, after: int, operations: int, size: int) -> list[StoredOperation]:
        """See `Journal.waiting`."""
        return []

    def holds(self, row: int) -> bool:
        """See `Journal.holds`."""
        return False

    def tidy(self) -> bool:
        """See `Journal.tidy`."""
        return False

    def close(self) -> None:
        """See `Journal.close`."""

    def discard(self) -> None:
        """See `Journal.discard`."""


class FileJournal:
    """Keeps operations in an SQLite file with WAL and ``synchronous=FULL``.

    Parameters:
        path: the file; its folder must exist. A lock on ``<path>.lock`` keeps others out.
        wall: tells the time, in seconds since 1970.

    Raises:
        Unavailable: another client has the file open; it cannot be opened; or it is damaged, and
            was moved aside.
    """

    durable = True

    def __init__(self, path: Path, wall: Callable[[], float] = time.time):
        self.path = path
        self.name = str(path)
        self._wall = wall
        self._lock = lock_file(path)
        self._finished = _Finished()
        _open_journals.add(self)
        try:
            self._connection, self.found = self._open()
            self._traced = has_traces(self._connection)
        except BaseException:
            self.unlock()
            raise

    def commit(self, changes: Changes) -> None:
        """See `Journal.commit`. One transaction, one fsync."""
        now = int(self._wall())
        finished = self._finished.and_also(changes.confirmed)
        traces = [(e.row, e.body, e.trace) for e in changes.added if e.trace is not None]
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            add_operations(connection, now, [(e.row, e.body) for e in changes.added])
            if traces:
                add_traces(connection, traces)
            add_messages(connection, ((d.id, [e.row for e in d.entries]) for d in changes.packed))
            confirm_messages(connection, (dispatch.id for dispatch in changes.confirmed))
            connection.executemany(
                "DELETE FROM operations WHERE id = ?", [(e.row,) for e in changes.dropped]
            )
            if finished.many:
                self._remove(connection)
        self._finished = _Finished() if finished.many else finished
        self._traced = self._traced or bool(traces)

    def packed(self) -> Iterator[StoredOperation]:
        """See `Journal.packed`."""
        return self._in_messages("NOT confirmed")

    def waiting(self, after: int, operations: int, size: int) -> list[StoredOperation]:
        """See `Journal.waiting`."""
        # All in one row: each step of SQLite lets go of Python's lock, see `add_operations`.
        query = (
            "SELECT json_group_array(json_array(id, hex(body))) FROM ("
            " SELECT id, body, sum(length(body)) OVER (ORDER BY id) - length(body) AS before"
            " FROM (SELECT id, body FROM operations WHERE id > ?1 AND id NOT IN"
            " (SELECT value FROM messages, json_each(rows) WHERE value > ?1)"
            " ORDER BY id LIMIT ?2) ORDER BY id) WHERE before < ?3"
        )
        (found,) = self._connection.execute(query, (after, operations, size)).fetchone()
        return [
            StoredOperation(row, None, bytes.fromhex(body), self._trace_of(row))
            for row, body in json.loads(found)
        ]

    def holds(self, row: int) -> bool:
        """See `Journal.holds`."""
        query = "SELECT 1 FROM operations WHERE id = ?"
        return self._connection.execute(query, (row,)).fetchone() is not None

    def expired(self) -> Iterator[StoredOperation]:
        """The operations in messages that are too old to be sent, as `packed` gives them."""
        return self._in_messages("NOT confirmed AND messages.id < ?", oldest_id(self._wall()))

    def tidy(self) -> bool:
        """See `Journal.tidy`."""
        self._remove_confirmed()
        if self._free_pages() <= _FREE_PAGES:
            return False
        self._vacuum(_PAGES_AT_ONCE)
        return self._free_pages() > _FREE_PAGES

    def close(self) -> None:
        """See `Journal.close`. A file that holds nothing any more becomes small."""
        # What was committed is safe in any case; a full disk must not keep the lock held.
        with suppress(sqlite3.Error):
            self._remove_confirmed()
            if self._connection.execute("SELECT 1 FROM operations LIMIT 1").fetchone() is None:
                self._vacuum(self._free_pages())
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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

    def _open(self) -> tuple[sqlite3.Connection, Totals]:
        try:
            return connect(self.path)
        except Damaged as damage:
            raise self._moved_aside(damage) from damage
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"the outbox {self.path} cannot be opened: {error}; it was left as it is. "
                "Move it aside to start with an empty one.",
                field="outbox",
            ) from error

    def _in_messages(self, which: str, *parameters: str) -> Iterator[StoredOperation]:
        query = (
            "SELECT operations.id, messages.id, body FROM messages, json_each(rows)"
            f" JOIN operations ON operations.id = value WHERE {which}"
            " ORDER BY messages.id, json_each.key"
        )
        found = self._connection.execute(query, parameters)
        return (
            StoredOperation(row, message_id, body, self._trace_of(row))
            for row, message_id, body in found
        )

    def _trace_of(self, row: int) -> str | None:
        return trace_of(self._connection, row) if self._traced else None

    def _remove_confirmed(self) -> None:
        if self._finished != _Finished():
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                self._remove(connection)
            self._finished = _Finished()

    def _remove(self, connection: sqlite3.Connection) -> None:
        remove_confirmed(connection)
        if self._traced:
            remove_traces(connection)

    def _free_pages(self) -> int:
        (pages,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages)

    def _vacuum(self, pages: int) -> None:
        # It frees one page for each of its rows, which are empty, so `execute` stops at the first.
        self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def _moved_aside(self, damage: Damaged) -> Unavailable:
        try:
            moved = move_aside(self.path)
        except OSError as error:
            return Unavailable(
                f"the outbox {self.path} is damaged ({damage}), and cannot be moved aside: {error}",
                field="outbox",
            )
        return Unavailable(
            f"the outbox {self.path} is damaged ({damage}). It was moved to {moved}, and nothing "
            "was deleted. Open the outbox again to start with an empty one; "
            f"`sqlite3 {moved} .recover` prints what can still be read.",
            field="outbox",
        )


@dataclass(frozen=True)
class _Finished:
    """What of confirmed messages is still in the file."""

    operations: int = 0
    bytes: int = 0

    @property
    def many(self) -> bool:
        return self.operations >= _FINISHED_OPERATIONS or self.bytes >= _FINISHED_BYTES

    def and_also(self, dispatches: Sequence[Dispatch]) -> _Finished:
        operations = sum(len(dispatch.entries) for dispatch in dispatches)
        return _Finished(
            self.operations + operations,
            self.bytes + sum(len(dispatch.body) for dispatch in dispatches),
        )


_open_journals: weakref.WeakSet[FileJournal] = weakref.WeakSet()


def _unlock_in_child() -> None:
    # A forked child shares the parent's locks, and would hold them after the parent's death.
    for journal in list(_open_journals):
        journal.unlock()


os.register_at_fork(after_in_child=_unlock_in_child)
