"""``zdk up``."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker.app import make_app
from worker.cli.output import Exit, errors_explained, fail, print_json
from worker.embedded import EmbeddedError
from worker.embedded.stack import EmbeddedStack
from worker.roundtrip import round_trip
from worker.settings import Settings

#: Seconds until the first worker must answer.
_READY_SECONDS = 60.0


def up(
    folder: Annotated[
        Path, typer.Option(help="Where broker, database, artifacts and logs are kept.")
    ] = Path("zdk-data"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Pool processes of each worker.")
    ] = 1,
    port: Annotated[
        int, typer.Option(help="Port of the broker; 0 for the last one, or a free one.")
    ] = 0,
    grace: Annotated[
        float,
        typer.Option(min=0, max=86_400, help="Seconds that workers get to finish when stopping."),
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON when it is up.")] = False,
) -> None:
    """Run everything on this machine: broker (Valkey), database (SQLite), blobs, workers.

    Prints the exports that a client needs, and runs until Ctrl-C or TERM. Workers that die are
    started again. Nothing is left running, however it ends; the data stays in the folder, and
    the same command goes on with it. The exports are also in FOLDER/env.

    Example: zdk up --workers 2

    Then, elsewhere: source zdk-data/env
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    stack = EmbeddedStack(folder, workers, concurrency, port, grace)
    with errors_explained():
        try:
            stack.start()
            _wait_for_a_worker(stack)
            _announce(stack, as_json)
            stack.supervise(stopping.wait)
        except (EmbeddedError, TimeoutError) as error:
            fail(str(error), Exit.UNAVAILABLE)
        finally:
            stack.stop()


def _wait_for_a_worker(stack: EmbeddedStack) -> None:
    settings = Settings(broker_url=stack.environment["ZDK_BROKER_URL"], result_url=None)
    try:
        round_trip(make_app(settings), timeout=_READY_SECONDS)
    except TimeoutError as error:
        logs = stack.folder / "logs"
        raise TimeoutError(f"{error}; the workers' logs are in {logs}") from None


def _announce(stack: EmbeddedStack, as_json: bool) -> None:
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment.items()
    )
    (stack.folder / "env").write_text(exports)
    if as_json:
        print_json({"environment": stack.environment, "worker_pids": stack.worker_pids})
        return
    console = Console(stderr=True, highlight=False)
    console.print(f"[green]up[/]: {stack.workers} workers; data and logs in {stack.folder}")
    console.print(f"in the shell of a client:  source {stack.folder / 'env'}   (or paste:)\n")
    print(exports, flush=True)
    console.print("Ctrl-C stops everything; the data stays.")
