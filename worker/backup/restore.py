"""Puts a backup back: the bytes first, then the rows, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.operations import BlobReference
from worker import fence
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.verify import examine
from worker.backup import postgres, sqlite
from worker.backup.contents import count_rows
from worker.backup.copying import Copied, OnProgress, Progress, copy_blobs
from worker.backup.folder import Backups
from worker.backup.points import Manifest, Point, sha256_of
from worker.backup.postgres import Programs
from worker.database import Database
from worker.migrate import head


@dataclass(frozen=True)
class Restored:
    """What was put back.

    Attributes:
        point, manifest: from where, and what it holds.
        copied: the blobs that were not there, and those that the backup has lost.
    """

    point: Point
    manifest: Manifest
    copied: Copied


def restore(
    database: Database,
    blobs: BlobStore,
    backups: Backups,
    point: Point,
    programs: Programs,
    *,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> Restored:
    """Replace the database's rows by a backup's, once all their blobs are there.

    Blobs that are there already and whole stay. Others do no harm, and the sweep takes them.

    Parameters:
        force: whether to do so although the database has rows.
        on_progress: told how many bytes of the blobs are done.

    Raises:
        InvalidRequest: the backup does not fit this database or this release, or the database has
            rows and ``force`` is not given.
        Unavailable: the backup is damaged or just being dropped, or the database cannot be
            written; it is as it was.
        OSError: a blob cannot be written.
    """
    with fence.hold(database), backups.shared():
        manifest = point.manifest()
        _check(database, point, manifest, force)
        progress = Progress(manifest.bytes, on_progress)
        present = partial(_whole, blobs)
        copied = copy_blobs(point.blobs(), backups.blobs, blobs, present, progress)
        if database.dialect == "postgresql":
            postgres.load(database, programs, point.dump, manifest.server)
        else:
            sqlite.load(database, point.dump)
        _compare(database, manifest)
    return Restored(point, manifest, copied)


def examine_point(
    database: Database,
    backups: Backups,
    point: Point,
    *,
    force: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> Restored:
    """Read a backup whole, compare everything with its hash, and change nothing.

    Raises:
        InvalidRequest, Unavailable: as `restore` would.
    """
    with backups.shared():
        manifest = point.manifest()
        _check(database, point, manifest, force)
        copied, progress = Copied(), Progress(manifest.bytes, on_progress)
        for blob in point.blobs():
            if examine(backups.blobs, blob, progress) is not None:
                copied.missing.append(blob.sha256)
    return Restored(point, manifest, copied)


def _whole(blobs: BlobStore, blob: BlobReference) -> bool:
    """Whether a blob is there and whole; a damaged one is removed."""
    if not blobs.contains(blob.sha256, blob.size):
        return False
    if examine(blobs, blob) is None:
        return True
    blobs.delete(blob.sha256)
    return False


def _check(database: Database, point: Point, manifest: Manifest, force: bool) -> None:
    if manifest.database != database.dialect:
        raise InvalidRequest(
            f"the backup is of {manifest.database}, the database is {database.dialect}; restore "
            "into one of the same kind",
            field="database_url",
        )
    if manifest.revision > head():
        raise InvalidRequest(
            f"the backup has schema {manifest.revision}, this release knows {head()}; upgrade "
            "zdk-storage",
            field="point",
        )
    if sha256_of(point.dump) != manifest.dump_sha256:
        raise Unavailable(f"{point.dump} is damaged; take another point", field="point")
    if not point.has_whole_list(manifest):
        raise Unavailable(f"{point.list} is damaged; take another point", field="point")
    rows = _rows(database)
    if any(rows.values()) and not force:
        total = sum(rows.values())
        raise InvalidRequest(
            f"the database has {total:,} rows, which a restore replaces; use an empty one, or "
            "--force",
            field="database_url",
        )


def _compare(database: Database, manifest: Manifest) -> None:
    rows = _rows(database)
    different = {name for name, count in manifest.rows.items() if rows.get(name) != count}
    if different:
        raise Unavailable(
            f"the restored tables {', '.join(sorted(different))} have other numbers of rows than "
            "the backup; did a worker run? Stop all of them and restore again with --force"
        )


def _rows(database: Database) -> dict[str, int]:
    with database.reached() as connection:
        return count_rows(connection)
