"""One typed operation per verb: seven that write, seven that read, two that bring large bytes.

The same types serve both sides. JSON that belongs to the caller (event, state values, metadata)
is `msgspec.Raw`: the client encodes it once, and the worker passes it through unparsed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.limits import MAX_PAGE_SIZE

Order = Literal["newest", "oldest"]


class Operation(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="op",
):
    """Base of all operations; ``op`` on the wire says which."""


class CreateSession(Operation, frozen=True, tag="session.create"):
    """Create a session with an initial state. Fails with `AlreadyExists`."""

    key: SessionKey
    state: dict[str, msgspec.Raw] = {}


class AppendEvents(Operation, frozen=True, tag="session.append"):
    """Append events, each with its state delta, to an existing session, all or none.

    ``expected_revision`` makes it a compare-and-set that fails with `Conflict`.
    """

    key: SessionKey
    events: list[msgspec.Raw]
    expected_revision: int | None = None


class UpdateState(Operation, frozen=True, tag="session.update_state"):
    """Set and delete state keys without an event."""

    key: SessionKey
    delta: dict[str, msgspec.Raw] = {}
    delete: list[str] = []


class DeleteSession(Operation, frozen=True, tag="session.delete"):
    """Delete a session with its events and session state; app and user state stay."""

    key: SessionKey


class BlobReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that were staged beside the message: their SHA-256 (hexadecimal) and size in bytes."""

    sha256: str
    size: int


class SaveArtifact(Operation, frozen=True, tag="artifact.save"):
    """Store the next version of an artifact, from inline bytes or from staged ones."""

    key: ArtifactKey
    mime_type: str
    data: bytes | None = None
    blob: BlobReference | None = None
    metadata: dict[str, msgspec.Raw] = {}


class DeleteArtifact(Operation, frozen=True, tag="artifact.delete"):
    """Delete one version, or all of them. Version numbers are not used again."""

    key: ArtifactKey
    version: int | None = None


class DiscardDeadLetter(Operation, frozen=True, tag="dead_letter.discard"):
    """Forget the dead letter of a failed operation, because its caller has seen the error.

    Named by the operation's message and its place there, from 0. It is no error if there is none.
    """

    message_id: str
    position: int


class LoadSession(Operation, frozen=True, tag="session.load"):
    """Read a session: its merged state and the events that pass every given bound.

    Attributes:
        events: False for the state only.
        last: at most this many, the newest.
        after_seq, before_seq: only events with a seq strictly between the two.
        after_time: only events whose own timestamp is later than this.
    """

    key: SessionKey
    events: bool = True
    last: int | None = None
    after_seq: int = 0
    before_seq: int | None = None
    after_time: datetime | None = None


class ListSessions(Operation, frozen=True, tag="session.list"):
    """List the sessions of an app, or of one of its users, in the order of their creation."""

    app: str
    user: str | None = None
    order: Order = "newest"
    limit: int = MAX_PAGE_SIZE
    cursor: str | None = None
    state: bool = False


class LoadSharedState(Operation, frozen=True, tag="state.load"):
    """Read the state of an app and of one of its users, without a session."""

    app: str
    user: str


class LoadArtifact(Operation, frozen=True, tag="artifact.load"):
    """Read a version's metadata and a range of its bytes."""

    key: ArtifactKey
    version: int | None = None
    start: int = 0
    length: int | None = None


class ListArtifacts(Operation, frozen=True, tag="artifact.list"):
    """List a session's artifacts and its user's, each by its latest version, by name."""

    key: SessionKey
    limit: int = MAX_PAGE_SIZE
    cursor: str | None = None


class ListVersions(Operation, frozen=True, tag="artifact.versions"):
    """List the versions of one artifact, oldest first."""

    key: ArtifactKey
    limit: int = MAX_PAGE_SIZE
    cursor: str | None = None


class MessageStatus(Operation, frozen=True, tag="status"):
    """Ask what became of messages: their recorded outcomes, or that they are unknown."""

    message_ids: list[str]


class FindBlobs(Operation, frozen=True, tag="blob.find"):
    """Ask which of these blobs the blob store does not have, and which parts of them it has."""

    blobs: list[BlobReference]


class PutPart(Operation, frozen=True, tag="blob.put_part"):
    """Have a part of a large blob taken out of staging into the blob store.

    Attributes:
        blob: the whole.
        index: which part of `PART_BYTES`, from 0.
        part: the part's own hash and size, by which it is staged.
    """

    blob: BlobReference
    index: int
    part: BlobReference


WriteOperation = (
    CreateSession
    | AppendEvents
    | UpdateState
    | DeleteSession
    | SaveArtifact
    | DeleteArtifact
    | DiscardDeadLetter
)
Query = (
    LoadSession
    | ListSessions
    | LoadSharedState
    | LoadArtifact
    | ListArtifacts
    | ListVersions
    | MessageStatus
    | FindBlobs
    | PutPart
)
