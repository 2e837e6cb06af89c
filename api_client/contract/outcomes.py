"""What comes back: one outcome per write operation, one reply per query."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from api_client.contract.errors import ErrorRecord
from api_client.contract.keys import SessionKey
from api_client.contract.records import StoredEvent

#: Stands for JSON that is not there; msgspec cannot decode an optional `msgspec.Raw`.
ABSENT = msgspec.Raw(b"")


class SessionCreated(msgspec.Struct, frozen=True):
    """Attributes: the key and the store's time of creation."""

    key: SessionKey
    created_at: datetime


class AppendedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of an append: its id, its place, and whether it had been there before."""

    id: str
    seq: int
    duplicate: bool = False


class EventsAppended(msgspec.Struct, frozen=True):
    """What became of an append.

    Attributes:
        revision: the session's revision after it. None when every event was partial, and so
            nothing was sent to the store.
        events: one entry per stored event, in order; partial events have none.
    """

    revision: int | None
    events: list[AppendedEvent]

    @property
    def seq(self) -> int | None:
        """The place of the last event, or None if all were partial."""
        return self.events[-1].seq if self.events else None


class StateUpdated(msgspec.Struct, frozen=True):
    """Attributes: the session's revision, which a state update does not change."""

    revision: int


class SessionDeleted(msgspec.Struct, frozen=True):
    """Attributes: the number of events that went with the session."""

    events: int


class ArtifactSaved(msgspec.Struct, frozen=True):
    """Attributes: the new version's number, size in bytes and hash."""

    version: int
    size: int
    sha256: str


class ArtifactDeleted(msgspec.Struct, frozen=True):
    """Attributes: the version numbers that were deleted."""

    versions: list[int]


class DeadLetterDiscarded(msgspec.Struct, frozen=True):
    """Attributes: whether there was one."""

    found: bool


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one operation: exactly one of the two is set.

    Attributes:
        ok: the result as JSON; its shape follows from the operation.
        error: why it failed.
    """

    ok: msgspec.Raw = ABSENT
    error: ErrorRecord | None = None


class WriteReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one message.

    Attributes:
        outcomes: one per operation, in order. Empty when one of the others is set.
        missing: hashes of staged bytes that have expired; stage them and send the message again.
        error: the message as a whole was refused; nothing of it was applied.
        version: of the wire format; left out on the wire while it is 1.
    """

    outcomes: list[Outcome] = []
    missing: list[str] = []
    error: ErrorRecord | None = None
    version: int = 1


class QueryReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one query: exactly one of ``ok`` and ``error`` is set."""

    ok: msgspec.Raw = ABSENT
    error: ErrorRecord | None = None
    version: int = 1


class SessionReply(msgspec.Struct, frozen=True):
    """A session's state and some of its events, as they cross the wire.

    Attributes:
        events: oldest first.
        more: an older event passes the query's bounds but did not fit; ask again with
            ``before_seq`` set to the first seq of this reply.
    """

    key: SessionKey
    state: dict[str, Any]
    events: list[StoredEvent]
    revision: int
    created_at: datetime
    updated_at: datetime
    more: bool


class MissingBlob(msgspec.Struct, frozen=True):
    """A blob that is not in the blob store.

    Attributes:
        sha256: which.
        parts: those parts of it that are there, in order.
    """

    sha256: str
    parts: list[int]


class BlobsFound(msgspec.Struct, frozen=True):
    """Attributes: those blobs asked for that are missing, in the order of asking."""

    missing: list[MissingBlob]


class PartPut(msgspec.Struct, frozen=True):
    """Attributes: whether the part is in the blob store now; if not, stage it again."""

    stored: bool


class MessageState(msgspec.Struct, frozen=True):
    """What the ledger knows of one message.

    Attributes:
        message_id: the id asked for.
        applied: whether it is in the ledger.
        outcomes: its recorded outcomes, if it is.
    """

    message_id: str
    applied: bool
    outcomes: list[Outcome]
