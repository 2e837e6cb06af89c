"""``zdk outbox``: what is kept until it is applied, and how to get it applied."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from api_client.cli.command import Run, verb
from api_client.cli.connect import Troubles
from api_client.cli.options import JsonOption
from api_client.cli.outbox_views import Drained, drained_line, progress_of, statuses_table
from api_client.cli.output import ExitCode, errors_explained, note, show
from api_client.client import StorageClient
from api_client.outbox.expired import drop_expired
from api_client.outbox.locks import in_use
from api_client.outbox.status import outboxes_at, status_of

outbox = typer.Typer(help="Outboxes: what is not applied yet.", no_args_is_help=True)

#: Seconds between two looks at what is left.
_LOOK_EVERY = 0.5

PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="An outbox file, or a folder of them.")
]


@outbox.command("status")
def show_status(path: PathArgument, as_json: JsonOption = False) -> None:
    """Show what an outbox holds, or each outbox of a folder.

    Only looks: it may be in use, and nothing is sent or changed.

    Example: zdk outbox status /var/lib/agent/outbox/
    """
    with errors_explained(as_json):
        show([status_of(file) for file in outboxes_at(path)], as_json, statuses_table)


@verb(outbox, "drain", without=("outbox",))
def drain(
    run: Run,
    path: PathArgument,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop-expired",
            help="Move what is too old to be sent into PATH.expired-TIME.jsonl, and go on.",
        ),
    ] = False,
) -> None:
    """Send what an outbox holds, and wait until all of it has its outcome.

    Of a folder, all outboxes that no client has in use. --timeout bounds the whole. Exits with 5
    if anything is left; that stays, and goes on when the outbox is opened again.

    Example: zdk outbox drain outbox.db --timeout 600
    """
    outboxes_at(path)
    dropped = _drop(path) if drop else []
    with Troubles() as troubles, replace(run.target, outbox=path).open() as client:
        _wait(client, run.target.timeout)
        tally = client.tally
        client.close(0)
    drained = Drained(tally.applied, tally.failed, _left(path), dropped)
    run.show(drained, drained_line)
    for error in troubles.errors:
        note(error)
    if drained.left:
        if troubles.last is not None and troubles.last not in troubles.errors:
            note(f"the last trouble was: {troubles.last}")
        raise typer.Exit(ExitCode.UNAVAILABLE)


def _drop(path: str) -> list[str]:
    dropped = [drop_expired(file) for file in _idle(outboxes_at(path))]
    return [str(file) for file in dropped if file is not None]


def _wait(client: StorageClient, timeout: float) -> None:
    """Wait until nothing is left, or the time is up; on a terminal, show how far it is."""
    ends = time.monotonic() + timeout
    with progress_of(client.pending) as advance:
        while client.flush(min(_LOOK_EVERY, max(0.0, ends - time.monotonic()))):
            advance(client.pending)
            if time.monotonic() >= ends:
                break
        advance(client.pending)


def _left(path: str) -> int:
    """Operations in outboxes that nobody works off."""
    files = outboxes_at(path)
    found = [status_of(file) for file in _idle(files)]
    if len(found) < len(files):
        note(f"{len(files) - len(found)} outboxes are in use, and left to their clients")
    return sum(status.waiting + status.on_way for status in found)


def _idle(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if not in_use(file)]
