"""``zdk top``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.live import Live

from worker.cli.keys import keys
from worker.cli.output import Exit, load_settings, print_json
from worker.cli.top_view import screen
from worker.top.scene import Scene

#: Columns where there is no terminal, and lines may have any length.
_WIDE = 200


def top(
    interval: Annotated[
        float, typer.Option(min=0.5, max=3600.0, help="Seconds between two pictures.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object for each picture.")
    ] = False,
) -> None:
    """Watch queues, workers, rates, latency, dead letters, database and broker.

    Needs nothing but the broker and the database: ZDK_BROKER_URL, ZDK_RESULT_URL and
    ZDK_DATABASE_URL, as the workers have them. A part that does not answer is named, and the rest
    goes on. Workers tell of themselves every five seconds, so rates are those of the last five.

    Lag is the age of the oldest message that is not applied. Latency is that of half the messages,
    and of 95 %: from issue to commit, and for applying. docs/top.md explains each number.

    Ends with q or Ctrl-C; with --once it exits with 5 if a part did not answer.

    Example: zdk top

    Example: zdk top --once --json
    """
    scene = Scene(load_settings(), interval)
    signal.signal(signal.SIGTERM, _end)
    scene.wait()
    with suppress(KeyboardInterrupt):
        if once:
            _print_one(scene, as_json)
        elif as_json or not sys.stdout.isatty():
            _print_many(scene, interval, as_json)
        else:
            _live(scene, interval)


def _print_one(scene: Scene, as_json: bool) -> None:
    picture = scene.picture()
    if as_json:
        print_json(picture)
    else:
        _console().print(screen(picture, interval=0))
    if picture.trouble:
        raise typer.Exit(Exit.UNAVAILABLE)


def _print_many(scene: Scene, interval: float, as_json: bool) -> None:
    console = _console()
    with keys() as pressed:
        while True:
            if as_json:
                print_json(scene.picture())
            else:
                console.print(screen(scene.picture(), interval=interval), "")
            if pressed(interval) == "q":
                return


def _live(scene: Scene, interval: float) -> None:
    console = _console()
    with keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            picture = scene.picture()
            view = screen(picture, interval=interval, height=console.height)
            live.update(view, refresh=True)
            if pressed(interval) == "q":
                return


def _console() -> Console:
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(highlight=False, width=width)


def _end(*_: object) -> NoReturn:
    # An exception, so that the terminal is set back.
    sys.exit(128 + signal.SIGTERM)
