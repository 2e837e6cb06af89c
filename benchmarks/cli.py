"""The command line: which benchmarks to run, how often, and where figures go."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.catalogue import BENCHMARKS, load_benchmark
from benchmarks.machine import describe
from benchmarks.measurements import UNITS, Results
from benchmarks.report import Report
from benchmarks.servers import Servers
from benchmarks.statistics import median
from benchmarks.units import shown

#: Columns of the tables in a file or a pipe.
_FILE_WIDTH = 150

_HELP = """Measure this project beside its peers, all in one run on this machine.

It starts a PostgreSQL (fsync and synchronous_commit on), a Valkey, and workers as `zdk worker` runs
them, in a temporary folder, and removes all of it in the end. In each round every contestant has a
turn, in rotated order, after a warm-up round that does not count; figures are medians over rounds,
and ratios are between medians of the same run.

Exits with 1 if a line is missed, and names it; a quick run is not judged.

Examples:

python -m benchmarks --only throughput --rounds 3

python -m benchmarks --json run.json --plots docs/performance

python -m benchmarks --from run.json --plots docs/performance

make bench BENCH="--only latency --only load"
"""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m benchmarks")


def _reflowed(text: str) -> str:
    """Let the terminal break the lines, not this file."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


@app.command(help=_reflowed(_HELP))
def bench(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Run this benchmark only; repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every sample there.", dir_okay=False)
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Draw plots into this folder.", file_okay=False)
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write lines and machine there, in Markdown.", dir_okay=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes of this project.")] = 2,
    latency_workers: Annotated[
        int, typer.Option(min=1, help="The same where one operation at a time is timed.")
    ] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Pool processes in each.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small amounts, one round: does everything work?")
    ] = False,
    names: Annotated[
        bool, typer.Option("--list", help="List the benchmarks and what each measures.")
    ] = False,
    written: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Measure nothing; judge and draw what --json has written there.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Run benchmarks, print what was measured, and judge it."""
    if names:
        for name, what in BENCHMARKS.items():
            typer.echo(f"{name:14} {what}")
        return
    if written is not None:
        report = Report.from_json(json.loads(written.read_text()))
    else:
        chosen = _choose(only or [*BENCHMARKS])
        report = _run(
            chosen,
            rounds=1 if quick else rounds,
            workers=workers,
            latency_workers=latency_workers,
            concurrency=concurrency,
            quick=quick,
        )
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json()) + "\n")
    if plots is not None:
        _draw(report, plots)
    if markdown is not None:
        markdown.write_text(report.as_markdown())
    report.show(_output())
    if report.missed and not report.options["quick"]:
        typer.echo(f"missed: {'; '.join(report.missed)}", err=True)
        raise typer.Exit(1)


def _choose(names: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(
            f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}",
            param_hint="--only",
        )
    # In the order of the catalogue, each once.
    return [name for name in BENCHMARKS if name in names]


def _run(
    chosen: Sequence[str],
    *,
    rounds: int,
    workers: int,
    latency_workers: int,
    concurrency: int,
    quick: bool,
) -> Report:
    results = Results()
    progress = _Progress()
    with _interruptible(), _temporary_folder() as folder, Servers(folder) as servers:
        machine = describe(folder)
        run = Bench(
            folder=folder,
            servers=servers,
            results=results,
            rounds=rounds,
            quick=quick,
            workers=workers,
            latency_workers=latency_workers,
            concurrency=concurrency,
            tell=progress.turn,
        )
        for name in chosen:
            progress.begin(name)
            _measure(name, run)
    return Report(
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(progress.seconds, 1),
        machine=machine,
        options={
            "rounds": rounds,
            "workers": workers,
            "latency_workers": latency_workers,
            "concurrency": concurrency,
            "quick": quick,
        },
        benchmarks=chosen,
        results=results,
    )


def _measure(name: str, run: Bench) -> None:
    """Run one benchmark. If it fails, the others go on, and its lines count as missed."""
    try:
        benchmark = load_benchmark(name)
    except ModuleNotFoundError as error:
        typer.echo(f"bench: {name} needs the peers ({error}): run it with `make bench`", err=True)
        raise typer.Exit(2) from error
    try:
        benchmark(run)
    except Exception as error:
        traceback.print_exc()
        run.results.missing[name] = f"{type(error).__name__}: {error}"


def _draw(report: Report, folder: Path) -> None:
    # Imported late: only who wants plots needs matplotlib.
    from benchmarks.plots.draw import draw_all

    for path in draw_all(report, folder):
        typer.echo(f"drawn: {path}", err=True)


def _output() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """One that other users may enter, since PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="zdk-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: with everything stopped."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """A line for each turn, on the standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    def begin(self, name: str) -> None:
        """A benchmark begins."""
        self._console.print(f"[bold]{name}[/bold]: {BENCHMARKS[name]}")

    def turn(self, number: int, contestant: str, samples: Mapping[str, Sequence[float]]) -> None:
        """A contestant has had its turn."""
        figures = ", ".join(
            f"{metric} {shown(median(values), UNITS[metric])}" for metric, values in samples.items()
        )
        place = f"round {number}" if number else "warm-up"
        self._console.print(f"{self.seconds:6.1f} s  {place:8} {contestant:24} {figures}")
