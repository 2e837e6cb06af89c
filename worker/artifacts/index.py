"""The artifact index in SQL: names, versions and metadata, written with the ledger's row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby

from sqlalchemy import Connection, Insert, select

from api_client.contract.errors import StorageError
from api_client.contract.operations import BlobReference, DeleteArtifact
from worker.artifacts.evaluate import (
    ArtifactPlace,
    ArtifactPlan,
    ArtifactResult,
    ArtifactRow,
    Decoded,
    DecodedSave,
    evaluate,
)
from worker.database.rows import chunks, delete_rows, insert_into, lock_rows, upsert
from worker.schema import artifact_versions, artifacts, blobs
from worker.writes import Writes

_PLACE_COLUMNS = (
    artifacts.c.app,
    artifacts.c.user_id,
    artifacts.c.session_id,
    artifacts.c.name,
)
_VERSION_COLUMNS = (
    artifact_versions.c.artifact_pk,
    artifact_versions.c.version,
    artifact_versions.c.sha256,
    artifact_versions.c.size,
    artifact_versions.c.mime_type,
    artifact_versions.c.metadata,
    artifact_versions.c.created_at,
)


def apply(
    connection: Connection,
    writes: Writes,
    operations: Sequence[Decoded | StorageError],
    now: datetime,
) -> list[ArtifactResult | StorageError]:
    """Apply decoded operations in order within the caller's transaction.

    Parameters:
        writes: takes new versions, and is executed by the caller.

    Returns one result or error per operation, in order.
    """
    rows = _lock(connection, operations)
    plan = evaluate(operations, rows)
    _write_versions(connection, writes, plan, now)
    return plan.results


def lock_blobs(connection: Connection, references: Sequence[BlobReference]) -> None:
    """Make sure that the index knows these blobs, and hold their rows against the sweep."""
    rows = {blob.sha256: (blob.sha256, blob.size) for blob in references}
    # An upsert locks the row whether or not it was there; a plain insert would not.
    upsert(connection, blobs, [rows[sha256] for sha256 in sorted(rows)], ["size"])


def lock_blob(connection: Connection, sha256: str) -> None:
    """Hold a blob's row against saves that use it; make it, of size 0, if there is none."""
    # The size of a row that is there stays: a save may just have made it.
    upsert(connection, blobs, [(sha256, 0)], ["sha256"])


def _lock(
    connection: Connection, operations: Sequence[Decoded | StorageError]
) -> dict[ArtifactPlace, ArtifactRow]:
    """The rows of all artifacts concerned, locked in the order of their places; those that are
    saved have got the numbers of their new versions."""
    valid = [op for op in operations if not isinstance(op, StorageError)]
    saves = Counter(ArtifactPlace.of(op.key) for op in valid if isinstance(op, DecodedSave))
    deleted = {ArtifactPlace.of(op.key) for op in valid if isinstance(op, DeleteArtifact)}
    rows: dict[ArtifactPlace, ArtifactRow] = {}
    # A statement for each run of one kind, so that the whole is in one order: no deadlock.
    for saved, places in groupby(sorted({*saves, *deleted}), lambda place: place in saves):
        if saved:
            rows |= _raise_last_versions(connection, {place: saves[place] for place in places})
        else:
            rows |= _lock_rows(connection, [*places])
    _read_versions(connection, [rows[place] for place in deleted if place in rows])
    return rows


def _raise_last_versions(
    connection: Connection, saves: Mapping[ArtifactPlace, int]
) -> dict[ArtifactPlace, ArtifactRow]:
    """Give numbers to so many new versions of each artifact; returns the rows as they were."""
    asked = [
        {
            "app": place.app,
            "user_id": place.user,
            "session_id": place.session,
            "name": place.name,
            "last_version": count,
        }
        for place, count in saves.items()
    ]
    found: dict[ArtifactPlace, ArtifactRow] = {}
    for row in connection.execute(_raise(connection.dialect.name), asked):
        place = ArtifactPlace(row.app, row.user_id, row.session_id, row.name)
        found[place] = ArtifactRow(row.pk, row.last_version - saves[place], set())
    return found


@cache
def _raise(dialect: str) -> Insert:
    statement = insert_into(dialect, artifacts)
    raised = artifacts.c.last_version + statement.excluded.last_version
    return statement.on_conflict_do_update(
        index_elements=[*_PLACE_COLUMNS], set_={"last_version": raised}
    ).returning(artifacts)


def _lock_rows(
    connection: Connection, places: Sequence[ArtifactPlace]
) -> dict[ArtifactPlace, ArtifactRow]:
    found: dict[ArtifactPlace, ArtifactRow] = {}
    asked = [(place.app, place.user, place.session, place.name) for place in places]
    for row in lock_rows(connection, _PLACE_COLUMNS, asked):
        place = ArtifactPlace(row.app, row.user_id, row.session_id, row.name)
        found[place] = ArtifactRow(row.pk, row.last_version, set())
    return found


def _read_versions(connection: Connection, rows: Sequence[ArtifactRow]) -> None:
    by_pk = {row.pk: row for row in rows}
    for part in chunks(list(by_pk)):
        statement = select(artifact_versions.c.artifact_pk, artifact_versions.c.version).where(
            artifact_versions.c.artifact_pk.in_(part)
        )
        for found in connection.execute(statement):
            by_pk[found.artifact_pk].versions.add(found.version)


def _write_versions(
    connection: Connection, writes: Writes, plan: ArtifactPlan, now: datetime
) -> None:
    delete_rows(
        connection,
        [artifact_versions.c.artifact_pk, artifact_versions.c.version],
        plan.deleted,
    )
    rows = [
        (
            new.artifact_pk,
            new.version,
            new.blob.sha256,
            new.blob.size,
            new.mime_type,
            new.metadata,
            now,
        )
        for new in plan.saved.values()
    ]
    writes.insert_new(_VERSION_COLUMNS, rows)
