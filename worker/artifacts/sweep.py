"""Removes blobs that no version refers to, after a grace period, without racing a save.

A save puts its bytes first, then locks the blob's row, checks that the bytes are still there, and
commits the version. The sweep locks the same row, and only then looks for versions and the blob's
age, and deletes. Whichever comes second sees what the first has done.

Bytes that a client has put into the blob store by itself have no row until their message is
applied. The grace period spares them; if they wait for longer, the worker misses them, and the
client, which keeps them until then, hands them in again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice

from sqlalchemy import Connection, delete, select

from worker import fence
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.index import lock_blob
from worker.database import Database
from worker.retry import with_retries
from worker.schema import artifact_versions, blobs

_BATCH = 500
#: Seconds for which passing trouble, such as a held row, is tried again.
_PATIENCE = 20.0


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

    Raises:
        Unavailable: a backup or a restore is going on, which needs what the sweep would remove.
    """
    report = SweepReport()
    old = store.older_than(grace)
    while batch := list(islice(old, _BATCH)):
        report.examined += len(batch)
        with database.read.connect() as connection:
            candidates = sorted(set(batch) - _referenced(connection, batch))
        for sha256 in candidates:
            # A blob that is held for long must not end the sweep of all others.
            report.removed += with_retries(
                partial(_remove, database, store, sha256, grace), patience=_PATIENCE
            )
    return report


def _referenced(connection: Connection, hashes: list[str]) -> set[str]:
    statement = select(artifact_versions.c.sha256).where(artifact_versions.c.sha256.in_(hashes))
    return set(connection.scalars(statement))


def _remove(database: Database, store: BlobStore, sha256: str, grace: float) -> bool:
    with (
        database.write.connect() as connection,
        connection.begin() as transaction,
        fence.passed(database, connection),
    ):
        lock_blob(connection, sha256)
        # The age counts again: since the blob was listed, a save may have begun to rely on it.
        gone = not _referenced(connection, [sha256]) and store.expire(sha256, grace)
        if gone:
            connection.execute(delete(blobs).where(blobs.c.sha256 == sha256))
        else:
            transaction.rollback()
    return gone
