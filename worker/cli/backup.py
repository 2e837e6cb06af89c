"""``zdk backup`` and ``zdk restore``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table

from api_client.contract.errors import StorageError
from worker.artifacts.blobs import BlobStore, open_blob_store
from worker.backup.copying import Copied, OnProgress
from worker.backup.folder import Backups
from worker.backup.make import back_up
from worker.backup.points import Manifest, Point
from worker.backup.postgres import Programs
from worker.backup.restore import examine_point
from worker.backup.restore import restore as put_back
from worker.backup.retention import Dropped, drop_all_but
from worker.cli.output import Exit, errors_explained, fail, load_settings, print_json
from worker.database import Database
from worker.migrate import head

#: One holds the fence; the other sees the snapshot.
_CONNECTIONS = 2
_MOST_HASHES = 10

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the backups.")]
PgBin = Annotated[
    Path | None,
    typer.Option(
        "--pg-bin", metavar="FOLDER", help="Of pg_dump and pg_restore, if not on the PATH."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def backup(
    folder: Folder,
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Then drop all points but the newest N; all stay if not given."
        ),
    ] = None,
    pg_bin: PgBin = None,
    as_json: Json = False,
) -> None:
    """Back up database and artifacts to one point in time, while workers run.

    Takes a snapshot of the database in ZDK_DATABASE_URL with pg_dump, then copies the bytes in
    ZDK_ARTIFACTS_URL that it refers to. FOLDER keeps all points; bytes that an earlier one has
    copied are not copied again. What is applied after the beginning is not in it. Meanwhile zdk
    sweep removes nothing.

    Give each database a FOLDER of its own: --keep counts all points in it.

    Exits with 1 if bytes were missing or damaged (zdk artifacts verify says whose), or old points
    could not be dropped. See docs/backup.md, also for losing nothing at all.

    Example: zdk backup /mnt/backups/zdk --keep 30
    """
    backups = Backups(folder)
    with errors_explained(), _opened() as (database, store), _bar("Copying") as on_progress:
        made = back_up(database, store, backups, Programs(pg_bin), on_progress)
    if not as_json:
        _print(made.point, made.manifest, made.copied, "copied")
    dropped = None if keep is None else _drop(backups, keep)
    if as_json:
        print_json(_report_of(made.point, made.manifest, made.copied) | {"dropped": dropped})
    elif dropped is not None:
        print(f"{len(dropped.points):,} old points dropped, and {dropped.blobs:,} blobs")
    if made.copied.missing or (dropped is not None and dropped.damaged):
        raise typer.Exit(Exit.UNEXPECTED)


def restore(
    folder: Folder,
    point: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which point; the latest if not given.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Change nothing; list the points.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; read the backup and verify it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the rows that the database has.")
    ] = False,
    pg_bin: PgBin = None,
    as_json: Json = False,
) -> None:
    """Put database and artifacts back as they were at the point of a backup.

    Stop all workers first. The database in ZDK_DATABASE_URL must be there, and be empty. The bytes
    go to ZDK_ARTIFACTS_URL first, then the rows, in one transaction. Afterwards run zdk migrate,
    start the workers, and let clients be: what their outboxes hold is applied once, also if the
    backup has it already.

    Exits with 1 if the backup has lost bytes.

    Example: zdk restore /mnt/backups/zdk --dry-run

    Example: zdk restore /mnt/backups/zdk --point 20261123T030000.000000Z
    """
    backups = Backups(folder)
    with errors_explained():
        if list_:
            _list(backups, as_json)
            return
        chosen = backups.point(point)
        bar = _bar("Reading" if dry_run else "Restoring")
        with _opened() as (database, store), bar as tell:
            done = (
                examine_point(database, backups, chosen, force=force, on_progress=tell)
                if dry_run
                else put_back(
                    *(database, store, backups, chosen, Programs(pg_bin)),
                    force=force,
                    on_progress=tell,
                )
            )
    if as_json:
        print_json(_report_of(chosen, done.manifest, done.copied))
    else:
        _print(chosen, done.manifest, done.copied, "verified" if dry_run else "restored")
    if done.copied.missing:
        raise typer.Exit(Exit.UNEXPECTED)
    if done.manifest.revision != head() and not (dry_run or as_json):
        print(f"its schema is {done.manifest.revision}, this release needs {head()}: zdk migrate")


@contextmanager
def _opened() -> Iterator[tuple[Database, BlobStore]]:
    settings = load_settings()
    store = open_blob_store(settings.artifacts_url)
    database = Database(replace(settings.database, pool_size=_CONNECTIONS))
    try:
        yield database, store
    finally:
        database.close()


def _drop(backups: Backups, keep: int) -> Dropped | None:
    try:
        dropped = drop_all_but(backups, keep)
    except OSError as error:
        # Not Unavailable: whoever tried again would make another backup each time.
        fail(f"the backup is made, but old points cannot be dropped: {error}", Exit.UNEXPECTED)
    if dropped is None:
        print(
            "zdk: nothing is dropped, because another backup or a restore is using the folder; "
            "the next backup will",
            file=sys.stderr,
        )
    elif dropped.damaged:
        print(
            f"zdk: no blobs are dropped, because of damage in {', '.join(dropped.damaged)}; remove "
            "these points once you do not need what is left of them",
            file=sys.stderr,
        )
    return dropped


def _print(point: Point, manifest: Manifest, copied: Copied, what: str) -> None:
    rows = manifest.rows
    print(
        f"{point.folder} {what}: {rows.get('sessions', 0):,} sessions, "
        f"{rows.get('events', 0):,} events, {rows.get('artifact_versions', 0):,} versions; "
        f"dump {decimal(manifest.dump_size)}; {manifest.blobs:,} blobs "
        f"({decimal(manifest.bytes)}), {copied.new:,} of them ({decimal(copied.new_bytes)}) new"
    )
    for sha256 in copied.missing[:_MOST_HASHES]:
        print(f"zdk: blob {sha256} is missing or damaged", file=sys.stderr)
    if len(copied.missing) > _MOST_HASHES:
        rest = len(copied.missing) - _MOST_HASHES
        print(f"zdk: and {rest:,} more; --json names them", file=sys.stderr)


def _report_of(point: Point, manifest: Manifest, copied: Copied) -> dict[str, Any]:
    return _summary(point, manifest) | {"copied": copied, "ok": not copied.missing}


def _summary(point: Point, manifest: Manifest) -> dict[str, Any]:
    return {"point": point.name, "folder": str(point.folder), "manifest": manifest}


def _list(backups: Backups, as_json: bool) -> None:
    found, damaged = [], []
    for point in backups.points():
        try:
            found.append((point, point.manifest()))
        except StorageError as error:
            damaged.append(error.message)
    if as_json:
        print_json({"points": [_summary(*each) for each in found]})
    elif found:
        _print_points(found)
    for message in damaged:
        print(f"zdk: {message}", file=sys.stderr)
    if damaged:
        raise typer.Exit(Exit.UNEXPECTED)
    if not found:
        print(f"zdk: {backups.folder} holds no finished backup", file=sys.stderr)


def _print_points(found: list[tuple[Point, Manifest]]) -> None:
    table = Table(box=None)
    for title in ("point", "schema", "sessions", "events", "dump", "blobs", "missing"):
        table.add_column(title, justify="left" if title == "point" else "right", no_wrap=True)
    for point, manifest in found:
        counts = (manifest.rows.get("sessions", 0), manifest.rows.get("events", 0))
        sizes = (decimal(manifest.dump_size), decimal(manifest.bytes))
        cells = (*(f"{count:,}" for count in counts), *sizes, str(len(manifest.missing)))
        table.add_row(point.name, manifest.revision, *cells)
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


@contextmanager
def _bar(title: str) -> Iterator[OnProgress]:
    """Shows a bar on the standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
