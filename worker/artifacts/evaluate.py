"""Decides every artifact operation of a batch, in memory. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from api_client.contract.checks import check_count, check_raw_values, check_size, check_text
from api_client.contract.codec import encode
from api_client.contract.errors import InvalidRequest, NotFound, StorageError
from api_client.contract.keys import ArtifactKey
from api_client.contract.limits import (
    MAX_ARTIFACT_BYTES,
    MAX_INLINE_BYTES,
    MAX_METADATA_BYTES,
    MAX_MIME_TYPE_BYTES,
)
from api_client.contract.operations import BlobReference, DeleteArtifact, SaveArtifact
from api_client.contract.outcomes import ArtifactDeleted, ArtifactSaved

ArtifactResult = ArtifactSaved | ArtifactDeleted


class ArtifactPlace(msgspec.Struct, frozen=True, order=True):
    """Where an artifact is indexed: like its key, but with no session for a user's own."""

    app: str
    user: str
    session: str
    name: str

    @classmethod
    def of(cls, key: ArtifactKey) -> ArtifactPlace:
        """The place of ``key``."""
        return cls(key.app, key.user, "" if key.user_scoped else key.session, key.name)


@dataclass(frozen=True)
class DecodedSave:
    """A save whose bytes are in the blob store."""

    key: ArtifactKey
    blob: BlobReference
    mime_type: str
    metadata: str


Decoded = DecodedSave | DeleteArtifact


@dataclass
class ArtifactRow:
    """A locked row of ``artifacts`` with the versions that exist."""

    pk: int
    last_version: int
    versions: set[int]


@dataclass(frozen=True)
class NewVersion:
    """A row of ``artifact_versions`` to be."""

    artifact_pk: int
    version: int
    blob: BlobReference
    mime_type: str
    metadata: str


@dataclass
class ArtifactPlan:
    """What became of each operation, in order, and what is to be written."""

    results: list[ArtifactResult | StorageError] = field(default_factory=list)
    saved: dict[tuple[int, int], NewVersion] = field(default_factory=dict)
    deleted: list[tuple[int, int]] = field(default_factory=list)


def check(operation: SaveArtifact | DeleteArtifact) -> None:
    """Refuse an operation that breaks the contract.

    Raises:
        InvalidRequest: a field has a wrong type or value.
        TooLarge: bytes or metadata exceed their limit.
    """
    if isinstance(operation, DeleteArtifact):
        if operation.version is not None:
            check_count(operation.version, "version", least=1)
        return
    check_text(operation.mime_type, "mime_type", MAX_MIME_TYPE_BYTES)
    check_size(len(encode(operation.metadata)), "metadata", MAX_METADATA_BYTES)
    check_raw_values(operation.metadata, "metadata")
    if (operation.data is None) == (operation.blob is None):
        raise InvalidRequest("exactly one of data and blob must be given", field="data")
    if operation.data is not None:
        check_size(len(operation.data), "data", MAX_INLINE_BYTES)
    if operation.blob is not None:
        check_blob(operation.blob)


def check_blob(blob: BlobReference) -> None:
    """Refuse a reference that cannot name a blob; what passes is safe as a file name."""
    if len(blob.sha256) != 64 or not set(blob.sha256) <= set("0123456789abcdef"):
        raise InvalidRequest(
            "blob.sha256 must be 64 lower-case hexadecimal digits", field="blob.sha256"
        )
    check_count(blob.size, "blob.size")
    check_size(blob.size, "blob", MAX_ARTIFACT_BYTES)


def evaluate(
    operations: Sequence[Decoded | StorageError], rows: dict[ArtifactPlace, ArtifactRow]
) -> ArtifactPlan:
    """Decide ``operations`` in order against ``rows``, which are changed along the way.

    Parameters:
        operations: an error in place of an operation is passed on as its result.
    """
    plan = ArtifactPlan()
    for operation in operations:
        if isinstance(operation, StorageError):
            plan.results.append(operation)
            continue
        try:
            if isinstance(operation, DecodedSave):
                plan.results.append(_save(operation, rows, plan))
            else:
                plan.results.append(_delete(operation, rows, plan))
        except StorageError as error:
            plan.results.append(error)
    return plan


def _save(
    save: DecodedSave, rows: dict[ArtifactPlace, ArtifactRow], plan: ArtifactPlan
) -> ArtifactSaved:
    row = rows[ArtifactPlace.of(save.key)]
    row.last_version += 1
    row.versions.add(row.last_version)
    plan.saved[(row.pk, row.last_version)] = NewVersion(
        row.pk, row.last_version, save.blob, save.mime_type, save.metadata
    )
    return ArtifactSaved(row.last_version, save.blob.size, save.blob.sha256)


def _delete(
    operation: DeleteArtifact, rows: dict[ArtifactPlace, ArtifactRow], plan: ArtifactPlan
) -> ArtifactDeleted:
    row = rows.get(ArtifactPlace.of(operation.key))
    wanted = set() if row is None else set(row.versions)
    if operation.version is not None:
        wanted &= {operation.version}
    if row is None or not wanted:
        what = "" if operation.version is None else f" version {operation.version} of"
        raise NotFound(f"there is no{what} artifact {operation.key.name!r}", field="key")
    row.versions -= wanted
    for version in wanted:
        if plan.saved.pop((row.pk, version), None) is None:
            plan.deleted.append((row.pk, version))
    return ArtifactDeleted(sorted(wanted))
