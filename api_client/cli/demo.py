"""``zdk demo``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api_client.cli.output import errors_explained, print_json
from api_client.client import StorageClient
from api_client.demo.inputs import Inputs, read_inputs
from api_client.demo.report import good, summary, table
from api_client.demo.run import Measured, store, verify
from api_client.demo.stack import DemoStack

_STEPS = {
    "accept": "accepted: durable in the outbox",
    "apply": "applied: committed by a worker",
    "load": "loaded back and compared",
}


def demo(
    folder: Annotated[
        Path, typer.Argument(help="A git repository or any folder to store.")
    ] = Path(),
    workers: Annotated[int, typer.Option(min=2, max=64, help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Store a repository through real workers, kill one half-way, and load everything back.

    Every tracked file becomes an artifact, the git log becomes a session's events; of a plain
    folder, every file and one event for each. Broker, database and workers are started for it in
    a temporary folder (as zdk up does) and are gone afterwards.

    Exits with 1 if anything is lost, doubled or different.

    Example: zdk demo ~/src/project
    """
    with errors_explained(as_json):
        inputs = read_inputs(folder)
        measured = Measured()
        console = Console(stderr=True, highlight=False)
        console.print(
            f"{inputs.kind} {folder.absolute()}: {len(inputs.files)} files, "
            f"{len(inputs.events)} events",
            markup=False,
        )
        with tempfile.TemporaryDirectory(prefix="zdk-demo-") as temporary:
            _run(Path(temporary), inputs, measured, workers, console)
    if as_json:
        print_json(summary(measured))
    else:
        Console(highlight=False).print(table(measured))
    for problem in (*measured.failed, *measured.lost, *measured.duplicated):
        console.print(problem, style="red", markup=False)
    if not good(measured):
        raise typer.Exit(1)


def _run(folder: Path, inputs: Inputs, measured: Measured, workers: int, console: Console) -> None:
    console.print(f"starting Valkey, SQLite and {workers} workers ...")
    with DemoStack(folder / "stack", workers) as stack, _progress(console) as progress:
        on_progress = _bars(progress, len(inputs.files) + len(inputs.events))
        broker = stack.environment["ZDK_BROKER_URL"]

        with StorageClient(broker, outbox=folder / "outbox.db") as client:
            killed: list[int] = []
            store(client, inputs, measured, on_progress, lambda: killed.append(stack.kill_worker()))
            progress.console.print(f"worker {killed[0]} was killed half-way (SIGKILL)")
            progress.console.print(f"worker {stack.await_restart(killed[0])} works in its place")
            verify(client, inputs, measured, on_progress)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _bars(progress: Progress, total: int) -> Callable[[str, int], None]:
    # The session's creation is an operation too, but nothing to load back.
    totals = {"accept": total + 1, "apply": total + 1, "load": total}
    bars = {step: progress.add_task(_STEPS[step], total=count) for step, count in totals.items()}
    return lambda step, count: progress.advance(bars[step], count)
