"""Storage objects over real databases, emptied for each test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, select

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.keys import SessionKey
from api_client.contract.operations import LoadSession
from api_client.contract.outcomes import SessionReply
from api_client.contract.records import StoredEvent
from tests.support import items
from worker.artifacts.blobs import BlobStore, MemoryBlobStore
from worker.artifacts.staging import Staging
from worker.database import Database, DatabaseOptions
from worker.dead_letters import Limits
from worker.schema import dead_letters, ledger, metadata
from worker.storage import Storage


def open_store(
    url: str,
    *,
    blobs: BlobStore | None = None,
    staging: Staging | None = None,
    patience: float = 20.0,
    limits: Limits | None = None,
    lock_timeout: float = 10.0,
    statement_timeout: float = 30.0,
) -> Storage:
    """A storage object over a migrated database."""
    options = DatabaseOptions(url, lock_timeout=lock_timeout, statement_timeout=statement_timeout)
    return Storage(
        Database(options), blobs or MemoryBlobStore(), staging, patience=patience, limits=limits
    )


def empty(storage: Storage) -> None:
    """Delete all rows."""
    with storage.database.write.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


def made(*operations: Mapping[str, Any], id_: str | None = None) -> Message:
    """A message of operations given as Python data."""
    return codec.decode_message(codec.encode(items.message(*operations, id_=id_)))


def letters(storage: Storage) -> Sequence[Row[Any]]:
    """All dead letters, whole, oldest first."""
    with storage.database.read.connect() as connection:
        return connection.execute(select(dead_letters).order_by(dead_letters.c.pk)).all()


def ledger_size(storage: Storage) -> int:
    """How many messages the ledger remembers."""
    with storage.database.read.connect() as connection:
        return connection.scalar(select(func.count()).select_from(ledger)) or 0


def contents(storage: Storage, session: str, app: str = "app", user: str = "user") -> list[Any]:
    """The contents of a session's events, in order."""
    key = SessionKey(app, user, session)
    events: list[StoredEvent] = []
    more = True
    while more:
        found = _load(storage, LoadSession(key=key, before_seq=events[0].seq if events else None))
        events[:0] = found.events
        more = found.more
    return [event.content for event in events]


def revision(storage: Storage, session: str, app: str = "app", user: str = "user") -> int:
    """How many appends a session has seen."""
    return _load(storage, LoadSession(key=SessionKey(app, user, session))).revision


def _load(storage: Storage, query: LoadSession) -> SessionReply:
    reply = storage.query(query)
    assert reply.error is None, reply.error
    return codec.decode(reply.ok, SessionReply)
