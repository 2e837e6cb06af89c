"""Outboxes as people see them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from api_client.cli.output import console
from api_client.cli.tables import human_size, listing, local_time
from api_client.outbox.status import OutboxStatus


@dataclass(frozen=True)
class Drained:
    """What a drain has done.

    Attributes:
        applied, failed: operations that got their outcome.
        left: operations that have none.
        dropped: files with the operations of messages that were too old.
    """

    applied: int
    failed: int
    left: int
    dropped: list[str]


def statuses_table(statuses: list[OutboxStatus]) -> RenderableType:
    """Outbox files, one to a line."""
    if not statuses:
        return "no outbox"
    return listing(
        {
            "Outbox": "key",
            "In use": "word",
            "Waiting": "number",
            "On the way": "number",
            "Messages": "number",
            "Expired": "number",
            "Size": "number",
            "Beside": "number",
            "Oldest": "word",
            "Problem": "text",
        },
        (_row(status) for status in statuses),
    )


def drained_line(drained: Drained) -> str:
    """What a drain has done, on one line."""
    line = f"applied {drained.applied:,}, failed {drained.failed:,}, left {drained.left:,}"
    if drained.dropped:
        line += f"; what was too old is in {', '.join(drained.dropped)}"
    return line


@contextmanager
def progress_of(total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far a drain is; what is given is called with what is left.

    Parameters:
        total: operations at the beginning.
    """
    columns = (
        TextColumn("draining"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=console(sys.stderr), disable=not sys.stderr.isatty())
    with shown as progress:
        task = progress.add_task("", total=total)
        yield lambda left: progress.update(task, completed=total - left)


class _Rate(ProgressColumn):
    """Operations per second."""

    def render(self, task: Task) -> Text:
        """See `ProgressColumn.render`."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def _row(status: OutboxStatus) -> list[str]:
    if status.problem is not None:
        return [status.path, _yes(status.in_use), *[""] * 7, status.problem]
    return [
        status.path,
        _yes(status.in_use),
        f"{status.waiting:,}",
        f"{status.on_way:,}",
        f"{status.messages:,}",
        f"{status.expired:,}" if status.expired else "",
        human_size(status.bytes),
        human_size(status.spooled_bytes) if status.spooled_bytes else "",
        "" if status.oldest is None else local_time(status.oldest),
        "",
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
