"""Removes blobs that no version refers to, after a grace period, without racing a save.

A save puts its bytes first, then locks the blob's row, checks that the bytes are still there, and
commits the version. The sweep locks the same row, and only then looks for versions and deletes.
Whichever comes second sees what the first has done.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection, delete, select

from api_client.contract.operations import BlobReference
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.index import lock_blobs
from worker.database import Database
from worker.schema import artifact_versions, blobs

_BATCH = 500


@dataclass
class SweepReport:
    """Attributes: blobs older than the grace period, and how many of them were removed."""

    examined: int = 0
    removed: int = 0


def sweep_blobs(database: Database, store: BlobStore, *, grace: float) -> SweepReport:
    """Remove unreferenced blobs.

    Parameters:
        grace: seconds for which a blob is kept although nothing refers to it; longer than the
            longest time between putting a blob and committing its version.
    """
    report = SweepReport()
    old = store.older_than(grace)
    while batch := list(islice(old, _BATCH)):
        report.examined += len(batch)
        with database.read.connect() as connection:
            candidates = sorted(set(batch) - _referenced(connection, batch))
        for sha256 in candidates:
            with database.write.begin() as connection:
                report.removed += _remove(connection, store, sha256)
    return report


def _referenced(connection: Connection, hashes: list[str]) -> set[str]:
    statement = select(artifact_versions.c.sha256).where(artifact_versions.c.sha256.in_(hashes))
    return set(connection.scalars(statement))


def _remove(connection: Connection, store: BlobStore, sha256: str) -> bool:
    size = connection.scalar(select(blobs.c.size).where(blobs.c.sha256 == sha256))
    lock_blobs(connection, [BlobReference(sha256, size or 0)])
    if _referenced(connection, [sha256]):
        return False
    store.delete(sha256)
    connection.execute(delete(blobs).where(blobs.c.sha256 == sha256))
    return True
