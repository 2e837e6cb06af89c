"""``zdk import``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.artifacts.blobs.memory import MemoryBlobStore
from worker.cli.output import Exit, errors_explained, load_settings, print_json
from worker.database import Database
from worker.imports.run import OnPass, import_adk
from worker.imports.source import Source
from worker.imports.summary import Finding, OnProgress, Summary
from worker.storage import Storage

imports = typer.Typer(
    name="import",
    no_args_is_help=True,
    help="Bring sessions over from another program's database.\n\n"
    "They go to the database in ZDK_DATABASE_URL.",
)

#: Failures, and differences, that are printed; --json names more.
_PRINTED = 20


@imports.callback()
def _group() -> None:
    """Keep `adk` a word of its own, although it is the only one so far."""


@imports.command()
def adk(
    database_url: Annotated[
        str,
        typer.Argument(
            metavar="DATABASE_URL",
            help="The database of ADK's DatabaseSessionService, as ADK was given it.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; count what would be brought over.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the sessions, events and states of google-adk over.

    Run it as often as you like: what is here already is left alone, and an import that was
    interrupted goes on. At the end all of it is compared with what is here. The other database is
    only read; google-adk need not be installed.

    What cannot be brought over is reported, and the rest go on. Exits with 1 if there was any, or
    if anything differs.

    Example: zdk import adk sqlite:///sessions.db --dry-run

    Example: zdk import adk postgresql://adk:secret@db/adk
    """
    settings = load_settings()
    with errors_explained(), _opened(database_url) as source:
        storage = Storage(Database(settings.database), MemoryBlobStore())
        try:
            with _progress() as on_pass:
                summary = import_adk(source, storage, dry_run=dry_run, on_pass=on_pass)
        finally:
            storage.close()
    if as_json:
        print_json({"dry_run": dry_run, **asdict(summary)})
    else:
        _print(summary, dry_run=dry_run)
    if summary.failed or summary.different:
        raise typer.Exit(Exit.UNEXPECTED)


@contextmanager
def _opened(url: str) -> Iterator[Source]:
    source = Source(url)
    try:
        yield source
    finally:
        source.close()


@contextmanager
def _progress() -> Iterator[OnPass]:
    """Shows a bar on the standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda name, total: lambda read: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:

        def on_pass(name: str, total: int) -> OnProgress:
            task = bar.add_task(name, total=total)
            return lambda read: bar.advance(task, read)

        yield on_pass


def _print(summary: Summary, *, dry_run: bool) -> None:
    brought = "would be brought over" if dry_run else "brought over"
    print(f"{summary.new_sessions:,} of {summary.sessions:,} sessions {brought}")
    print(f"{summary.new_events:,} of {summary.events:,} events {brought}")
    print(f"{summary.new_state:,} state keys of apps and users {brought}")
    if summary.orphans:
        print(f"{summary.orphans:,} events without a session left out")
    if not dry_run:
        gone_on = f", {summary.gone_on:,} of which have gone on here" if summary.gone_on else ""
        print(f"{summary.verified:,} sessions compared{gone_on}: {summary.different:,} differences")
    _print_findings(summary.failures, summary.failed, "could not be brought over")
    _print_findings(summary.differences, summary.different, "differ")


def _print_findings(findings: list[Finding], count: int, what: str) -> None:
    for finding in findings[:_PRINTED]:
        print(f"zdk: {_visible(f'{finding.where}: {finding.message}')}", file=sys.stderr)
    if count > _PRINTED:
        print(f"zdk: and {count - _PRINTED:,} more {what}; --json names them", file=sys.stderr)


def _visible(text: str) -> str:
    """``text`` on one line, with everything that could steer a terminal escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
