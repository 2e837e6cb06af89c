"""Ingestions as people see them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import RenderableType
from rich.progress import BarColumn, ProgressColumn, Task, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Column
from rich.text import Text

from api_client.cli.output import console, note
from api_client.cli.tables import facts, human_size
from api_client.contract.limits import KIB
from api_client.ingest import OnProgress, Progress, Skipped, Summary

#: A file costs about as much as so many bytes; the bar and the time left go by both.
_FILE_COST = 64 * KIB
#: Failures that are printed.
_PRINTED = 20


@contextmanager
def progress_shown() -> Iterator[OnProgress | None]:
    """Show on a terminal how far an ingestion is; None if the standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    amounts = _Amounts(table_column=Column(no_wrap=True))
    columns = (BarColumn(bar_width=None), amounts, TimeRemainingColumn())
    bar = ProgressBar(*columns, console=console(sys.stderr), expand=True, transient=True)
    with bar as shown:
        task = shown.add_task("", total=None, far=None)

        def advance(far: Progress) -> None:
            shown.update(
                task,
                completed=_cost(far.summary.files, far.bytes),
                total=_cost(far.total.files, far.total.bytes) if far.total.complete else None,
                far=far,
            )

        yield advance


class _Amounts(ProgressColumn):
    """Files, of how many so far as they are counted, and bytes; both per second too."""

    def render(self, task: Task) -> Text:
        """See `ProgressColumn.render`."""
        far: Progress | None = task.fields["far"]
        if far is None or not task.elapsed:
            return Text("waiting for the storage")
        files = far.summary.files
        total = f"{max(files, far.total.files):,}" + ("" if far.total.complete else "+")
        rates = _rates(files, far.bytes, task.elapsed)
        return Text(f"{files:,}/{total} files, {human_size(far.bytes)}, {rates}")


def summary_table(summary: Summary, *, dry_run: bool) -> RenderableType:
    """What an ingestion has done; of a dry run, what it would have done."""
    lines = {
        "Would store" if dry_run else "Stored": (
            f"{_files(summary.stored)} ({summary.new:,} new, {summary.changed:,} changed), "
            f"{human_size(summary.bytes)}"
        ),
        "Unchanged": _files(summary.unchanged),
        "Failed": f"{summary.failed:,}",
        "Skipped": _skipped(summary.skipped),
        "Time": f"{summary.seconds:.1f} s",
    }
    if not dry_run and summary.seconds:
        lines["Rate"] = _rates(summary.files, summary.bytes, summary.seconds)
    return facts(lines)


def print_failures(summary: Summary, written: Path | None) -> None:
    """Print the first failures on the standard error, and where the others are."""
    printed = summary.failures[:_PRINTED]
    for failure in printed:
        note(f"{failure.file}: {failure.message}")
    more = summary.failed - len(printed)
    if more:
        where = "--failures FILE writes all of them" if written is None else f"all are in {written}"
        note(f"and {more:,} more; {where}")


def _skipped(skipped: Skipped) -> str:
    kinds = {
        "symbolic links": skipped.links,
        "pipes, sockets or devices": skipped.special,
        "by the patterns": skipped.excluded,
    }
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count) or "0"


def _cost(files: int, size: int) -> int:
    return files * _FILE_COST + size


def _rates(files: int, size: int, seconds: float) -> str:
    return f"{files / seconds:,.0f}/s, {human_size(int(size / seconds))}/s"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
