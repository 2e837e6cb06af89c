"""Makes a backup; `worker.backup` says why it is of one point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection

from api_client.contract.errors import InvalidRequest
from api_client.version import __version__
from worker import fence
from worker.artifacts.blobs.base import BlobStore
from worker.backup import postgres, sqlite
from worker.backup.contents import count_rows, list_blobs
from worker.backup.copying import Copied, OnProgress, Progress, copy_blobs
from worker.backup.folder import Backups
from worker.backup.points import FORMAT, Manifest, Point, sha256_of
from worker.backup.postgres import Programs
from worker.database import Database
from worker.migrate import current


@dataclass(frozen=True)
class Made:
    """A backup that was made. Attributes: where, what it holds, which blobs were copied anew."""

    point: Point
    manifest: Manifest
    copied: Copied


def back_up(
    database: Database,
    blobs: BlobStore,
    backups: Backups,
    programs: Programs,
    on_progress: OnProgress = lambda done, total: None,
) -> Made:
    """Take a snapshot of the database, then copy the blobs that it refers to. Safe while workers
    run; nothing is swept meanwhile.

    Parameters:
        programs: PostgreSQL's.
        on_progress: told how many bytes of the blobs are done.

    Raises:
        InvalidRequest: the database has no schema, or there is no pg_dump for it.
        Unavailable: it cannot be read, or another backup is going on.
        OSError: the backup cannot be written.
    """
    with fence.hold(database), backups.begin() as point:
        made_at = datetime.now(timezone.utc)
        with _snapshot(database, programs, point) as connection:
            revision = current(connection)
            if revision is None:
                raise InvalidRequest(
                    "the database has no schema, so there is nothing to back up",
                    field="database_url",
                )
            server = postgres.server_version(connection) if _is_postgres(database) else 0
            rows = count_rows(connection)
            listed = list_blobs(connection, point.list)
        progress = Progress(listed.bytes, on_progress)
        copied = copy_blobs(point.blobs(), blobs, backups.blobs, backups.holds, progress)
        manifest = Manifest(
            format=FORMAT,
            made_at=made_at,
            release=__version__,
            database=database.dialect,
            server=server,
            revision=revision,
            dump_size=point.dump.stat().st_size,
            dump_sha256=sha256_of(point.dump),
            rows=rows,
            blobs=listed.blobs,
            bytes=listed.bytes,
            missing=copied.missing,
            list_sha256=sha256_of(point.list),
        )
        point.finish(manifest)
        return Made(point, manifest, copied)


@contextmanager
def _snapshot(database: Database, programs: Programs, point: Point) -> Iterator[Connection]:
    if _is_postgres(database):
        with postgres.snapshot(database, programs, point.dump) as connection:
            yield connection
    else:
        with sqlite.snapshot(database, point.dump) as connection:
            yield connection


def _is_postgres(database: Database) -> bool:
    return database.dialect == "postgresql"
