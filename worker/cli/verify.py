"""``zdk artifacts verify``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from api_client.contract.codec import encode
from worker.artifacts.blobs import BlobStore, Quarantine, open_blob_store
from worker.artifacts.references import Scope, Total, total
from worker.artifacts.verify import Damage, Tally, Verification
from worker.cli.damage_table import damage_table
from worker.cli.output import Exit, errors_explained, fail, load_settings
from worker.database import Database

#: Rows of the table for people; a store that is not mounted lacks every blob there is.
_MOST_ROWS = 1000
_NONE_IS_WHOLE = (
    "not one is whole: is the folder in ZDK_ARTIFACTS_URL mounted, and is it the one that the "
    "workers have?"
)


def verify(
    app: Annotated[str | None, typer.Option(metavar="APP", help="Only this application's.")] = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only this user's.")] = None,
    session: Annotated[
        str | None,
        typer.Option(metavar="SESSION", help="Only this session's, without its user's."),
    ] = None,
    quarantine: Annotated[
        bool,
        typer.Option(
            "--quarantine",
            help="Move damaged bytes aside, so that the next save of the content keeps it anew.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read all bytes that versions refer to, and report what is missing or damaged.

    Exits with 1 if anything is. Safe while workers run. It works on the database in
    ZDK_DATABASE_URL and the blob store in ZDK_ARTIFACTS_URL, as a worker does. What is wrong comes
    back with the next save of the same content (after --quarantine, if it was damaged), or from a
    backup. A file store keeps what was moved aside in its folder damaged/, until you remove it.

    Example: zdk artifacts verify --app shop --quarantine
    """
    settings = load_settings()
    with errors_explained():
        database = Database(settings.database)
        store = open_blob_store(settings.artifacts_url)
        scope = Scope(app, user, session)
        aside = _quarantine_of(store) if quarantine else None
        verification = Verification(database, store, scope, aside)
        # On a terminal, JSON that comes piece by piece and a bar would be in each other's way.
        bar = sys.stderr.isatty() and not (as_json and sys.stdout.isatty())
        found = _watched(verification, total(database, scope)) if bar else verification.run()
        (_show_json if as_json else _show_table)(found, verification.tally)
    tally = verification.tally
    if tally.wrong == tally.blobs > 0:
        print(f"zdk: {_NONE_IS_WHOLE}", file=sys.stderr)
    if tally.wrong:
        raise typer.Exit(Exit.UNEXPECTED)


def _quarantine_of(store: BlobStore) -> Quarantine:
    if not isinstance(store, Quarantine):
        fail("--quarantine: this blob store cannot move blobs aside", Exit.USAGE)
    return store


def _watched(verification: Verification, total: Total) -> Iterator[Damage]:
    """What is found, with a bar on the standard error that is gone at the end."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    # The standard output may be a file or a pipe, and keeps what is meant for it.
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("Reading", total=total.bytes)
        yield from verification.run(lambda count: bar.advance(task, count))


def _show_json(found: Iterator[Damage], tally: Tally) -> None:
    # Piece by piece: there may be more than memory holds. Nothing before the first of them is
    # known, so that no document is begun where the database does not answer.
    before = '{"damaged":['
    for damage in found:
        print(before, encode(damage).decode(), sep="", end="")
        before = ","
    rest = encode({"ok": not tally.wrong, **asdict(tally)}).decode()
    print("" if before == "," else before, f"],{rest.removeprefix('{')}", sep="", flush=True)


def _show_table(found: Iterator[Damage], tally: Tally) -> None:
    rows: list[Damage] = []
    count = 0
    for count, damage in enumerate(found, 1):
        if count <= _MOST_ROWS:
            rows.append(damage)
    if rows:
        terminal = sys.stdout.isatty()
        # In a pipe a line is as long as it needs to be.
        console = Console(width=None if terminal else 100_000, markup=False, highlight=False)
        console.print(damage_table(rows))
    if count > _MOST_ROWS:
        print(f"... and {count - _MOST_ROWS} more; --json lists all")
    print(_summary(tally, count))


def _summary(tally: Tally, versions: int) -> str:
    read = f"{tally.blobs} blobs ({decimal(tally.bytes)}) examined"
    if not tally.wrong:
        return f"{read}: all of them are whole"
    aside = f", {tally.quarantined} of them moved aside" if tally.quarantined else ""
    return f"{read}: {tally.wrong} wrong{aside}; {versions} versions refer to them"
