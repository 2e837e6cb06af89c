"""Saves and their blobs, without transport and client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.keys import ArtifactKey
from api_client.contract.operations import BlobReference, DeleteArtifact, LoadArtifact, SaveArtifact
from api_client.contract.outcomes import ArtifactSaved, Outcome, WriteReply
from api_client.contract.records import new_id
from worker.artifacts.reads import ArtifactReply
from worker.database import Database
from worker.schema import artifact_versions
from worker.storage import Storage

HOUR = 3600.0


class StagedBytes:
    """A `Staging` that is given its content.

    Parameters:
        contents: chunks by hash.
    """

    def __init__(self, contents: Mapping[str, Iterable[bytes]]):
        self._contents = dict(contents)

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """See `Staging.read`."""
        return iter(self._contents.get(sha256, ()))

    def discard(self, blobs: Sequence[BlobReference]) -> None:
        """See `Staging.discard`."""
        for blob in blobs:
            self._contents.pop(blob.sha256, None)


def reference(data: bytes) -> BlobReference:
    """What names ``data`` in a blob store."""
    return BlobReference(hashlib.sha256(data).hexdigest(), len(data))


def key(name: str, session: str = "session") -> ArtifactKey:
    """An artifact's key."""
    return ArtifactKey("app", "user", session, name)


def saving(name: str, data: bytes, *, staged: bool = False, session: str = "session") -> Message:
    """A message that saves ``data``, within it or as a reference to staged bytes."""
    save = SaveArtifact(
        key=key(name, session),
        mime_type="x/y",
        data=None if staged else data,
        blob=reference(data) if staged else None,
    )
    return message(save)


def message(*operations: SaveArtifact | DeleteArtifact) -> Message:
    """A message of ``operations``."""
    return codec.decode_message(
        codec.encode_message(new_id(), map(codec.encode_operation, operations))
    )


def apply(storage: Storage, sent: Message) -> list[Outcome]:
    """Apply one message of which no bytes are missing."""
    reply = try_apply(storage, sent)
    assert not reply.missing
    assert [outcome.error for outcome in reply.outcomes] == [None] * len(sent.operations)
    return reply.outcomes


def try_apply(storage: Storage, sent: Message) -> WriteReply:
    """Apply one message."""
    (reply,) = storage.apply([sent])
    return reply


def save(storage: Storage, name: str, data: bytes) -> int:
    """Save ``data`` in one message; returns the version."""
    (outcome,) = apply(storage, saving(name, data))
    assert outcome.ok is not None
    return msgspec.json.decode(outcome.ok, type=ArtifactSaved).version


def load(storage: Storage, name: str, session: str = "session") -> bytes:
    """The bytes of the latest version."""
    reply = storage.query(LoadArtifact(key=key(name, session)))
    assert reply.error is None
    assert reply.ok is not None
    return msgspec.json.decode(reply.ok, type=ArtifactReply).data


def make_older(root: Path, seconds: float) -> None:
    """Let all files of a blob store look as if they had been there for longer."""
    for path in files_below(root):
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def files_below(root: Path) -> list[Path]:
    """All files of a blob store."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def delete(storage: Storage, name: str) -> None:
    """Delete all versions."""
    apply(storage, message(DeleteArtifact(key=key(name))))


def referred(database: Database) -> set[str]:
    """The hashes that versions refer to."""
    with database.read.begin() as connection:
        return set(
            connection.scalars(
                artifact_versions.select().with_only_columns(artifact_versions.c.sha256)
            )
        )
