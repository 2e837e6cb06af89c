"""What callers give and get: events, sessions, artifacts, pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

import msgspec
from uuid_utils import uuid7

from api_client.contract.keys import SessionKey

Item = TypeVar("Item")


def new_id() -> str:
    """A fresh, time-ordered id (UUIDv7, RFC 9562)."""
    return str(uuid7())


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(timezone.utc)


class Event(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that happened in a session.

    Attributes:
        author: who caused it, such as ``user`` or an agent's name.
        content: any JSON value; it comes back exactly as it went in.
        state_delta: state keys to set. ``app:`` and ``user:`` keys live with the app and the
            user, ``temp:`` keys are never stored, all others live with the session. None is a
            value and is stored.
        state_delete: state keys to remove.
        id: unique within the session; an id seen before is a duplicate and changes nothing.
        timestamp: the client's time, with a zone. Kept as data, never used to order.
        invocation_id: groups the events of one run of the agent, if the caller wishes.
        partial: a streaming fragment; such events are not stored.
    """

    author: str
    content: Any = None
    state_delta: dict[str, Any] = {}
    state_delete: list[str] = []
    id: str = msgspec.field(default_factory=new_id)
    timestamp: datetime = msgspec.field(default_factory=utc_now)
    invocation_id: str | None = None
    partial: bool = False


class StoredEvent(Event, kw_only=True):
    """An event as loaded.

    Attributes:
        seq: its place in the session, from 1, without gaps, in the order of commit.
    """

    seq: int


class Session(msgspec.Struct, kw_only=True):
    """A session as loaded.

    Attributes:
        key: its key.
        state: the merged view of app, user and session state, with prefixes.
        events: the events asked for, oldest first.
        revision: the number of appends applied; what ``expected_revision`` compares with.
        created_at, updated_at: the store's time, UTC.
    """

    key: SessionKey
    state: dict[str, Any]
    events: list[StoredEvent]
    revision: int
    created_at: datetime
    updated_at: datetime


class SessionSummary(msgspec.Struct, kw_only=True):
    """A session in a listing.

    Attributes:
        key, revision, created_at, updated_at: as in `Session`.
        state: the merged state if it was asked for, else None.
        last_event_at: the last event's own timestamp; None if there is no event, or if the worker
            is of a release that does not tell.
    """

    key: SessionKey
    revision: int
    created_at: datetime
    updated_at: datetime
    state: dict[str, Any] | None = None
    last_event_at: datetime | None = None


class ArtifactVersion(msgspec.Struct, kw_only=True):
    """One version of an artifact, without its bytes.

    Attributes:
        name: the artifact's name.
        version: from 1, rising by one with each save, never used again after a delete.
        mime_type: as given to ``save``, or guessed.
        size: bytes.
        sha256: of the bytes, in lower-case hexadecimal.
        metadata: the caller's own JSON object.
        created_at: the store's time, UTC.
    """

    name: str
    version: int
    mime_type: str
    size: int
    sha256: str
    metadata: dict[str, Any]
    created_at: datetime


class Artifact(ArtifactVersion, kw_only=True):
    """One version of an artifact with its bytes, or the range of them that was asked for.

    Attributes:
        data: the bytes; empty when they were written to a file instead (``load(..., into=...)``).
    """

    data: bytes

    @property
    def text(self) -> str:
        """The bytes as UTF-8 text. Raises UnicodeDecodeError if they are not."""
        return self.data.decode()


class Page(msgspec.Struct, Generic[Item], kw_only=True):
    """A part of a listing. It can be iterated over and measured like a list.

    Attributes:
        items: what this page holds.
        next_cursor: give it to the same call for the page after this one; None at the end.
    """

    items: list[Item]
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]
