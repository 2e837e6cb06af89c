"""What an outbox holds, read without opening it as a client does."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from api_client.contract.errors import NotFound
from api_client.outbox.age import oldest_id
from api_client.outbox.database import connect_to_read
from api_client.outbox.homes import files_in, fixed, is_folder, spool_of
from api_client.outbox.locks import in_use
from api_client.outbox.tables import version_of

# Operations with their bytes and the oldest, messages with their operations, and those too old.
_COUNT = """
SELECT * FROM (
    SELECT count(*), coalesce(sum(length(body)), 0), min(added_at) FROM operations
    WHERE id NOT IN (SELECT value FROM messages, json_each(rows) WHERE confirmed)
), (
    SELECT count(*), coalesce(sum(json_array_length(rows)), 0), coalesce(sum(id < ?), 0)
    FROM messages WHERE NOT confirmed
)
"""
_COUNT_OF_FORMAT_1 = """
SELECT count(*), coalesce(sum(length(body)), 0), min(added_at), count(DISTINCT message_id),
    count(message_id), count(DISTINCT CASE WHEN message_id < ? THEN message_id END)
FROM operations
"""


class OutboxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One outbox file.

    Attributes:
        path: where it is.
        in_use: whether a client has it open.
        waiting: operations that are in no message yet.
        on_way: operations in messages without an outcome.
        messages: how many those are.
        expired: those of them that are too old to be sent.
        bytes: of all operations.
        spooled_bytes: beside it.
        oldest: when the oldest operation was accepted.
        problem: why it cannot be read; the rest is unknown then.
    """

    path: str
    in_use: bool
    waiting: int = 0
    on_way: int = 0
    messages: int = 0
    expired: int = 0
    bytes: int = 0
    spooled_bytes: int = 0
    oldest: datetime | None = None
    problem: str | None = None


def outboxes_at(place: str) -> list[Path]:
    """The outbox files at ``place``: itself, or those in it if it is a folder.

    Raises:
        NotFound: there is no such file or folder.
    """
    path = Path(fixed(place))
    if not path.exists():
        raise NotFound(f"there is no outbox at {path}", field="path")
    return files_in(path) if is_folder(place) else [path]


def status_of(path: Path, wall: Callable[[], float] = time.time) -> OutboxStatus:
    """What the outbox at ``path`` holds. No lock is taken, and nothing is changed."""
    used = in_use(path)
    try:
        with closing(connect_to_read(path)) as connection:
            # A file that was begun and never written to is an empty outbox.
            if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                return OutboxStatus(path=str(path), in_use=used)
            found = _count(connection, oldest_id(wall()))
    except sqlite3.Error as error:
        return OutboxStatus(path=str(path), in_use=used, problem=str(error))
    operations, size, oldest, messages, on_way, expired = found
    return OutboxStatus(
        path=str(path),
        in_use=used,
        waiting=operations - on_way,
        on_way=on_way,
        messages=messages,
        expired=expired,
        bytes=size,
        spooled_bytes=_bytes_in(spool_of(path)),
        oldest=None if oldest is None else datetime.fromtimestamp(oldest, timezone.utc),
    )


def _count(
    connection: sqlite3.Connection, oldest: str
) -> tuple[int, int, int | None, int, int, int]:
    query = _COUNT_OF_FORMAT_1 if version_of(connection) == 1 else _COUNT
    return connection.execute(query, (oldest,)).fetchone()  # type: ignore[no-any-return]


def _bytes_in(folder: Path) -> int:
    try:
        with os.scandir(folder) as files:
            return sum(file.stat().st_size for file in files)
    except FileNotFoundError:
        return 0
