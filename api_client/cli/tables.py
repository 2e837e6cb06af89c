"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from api_client.cli.output import visible
from api_client.contract.codec import encode

#: Characters of a long text that a table shows, even where a line may have any length.
_BRIEF = 200

Kind = Literal["key", "number", "time", "text"]


def table(columns: dict[str, Kind], rows: Iterable[Iterable[str]]) -> Table:
    """A table without lines.

    Parameters:
        columns: titles, each with what it holds. Keys are never cut, because people copy them;
            texts are cut where the line ends.
    """
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, kind in columns.items():
        drawn.add_column(
            title,
            justify="right" if kind == "number" else "left",
            overflow="ellipsis" if kind == "text" else "fold",
            no_wrap=kind != "key",
            min_width=len(title) if kind == "text" else None,
        )
    for row in rows:
        drawn.add_row(*map(_cell, row, columns.values()))
    return drawn


def facts(pairs: dict[str, str]) -> Table:
    """Names and values, one pair to a line."""
    drawn = Table.grid(padding=(0, 2, 0, 0))
    drawn.add_column(style="bold", overflow="fold")
    drawn.add_column(overflow="ellipsis", no_wrap=True)
    for name, value in pairs.items():
        drawn.add_row(_cell(name, "key"), _cell(value, "text"))
    return drawn


def local_time(moment: datetime) -> str:
    """A time as the clock on the wall shows it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def human_size(size: int) -> str:
    """A number of bytes, such as 1.5 kB."""
    return decimal(size)


def compact(value: Any) -> str:
    """JSON on one line."""
    return encode(value).decode()


def _cell(text: str, kind: Kind) -> Text:
    """A cell that shows ``text`` as it is, whatever markup or control characters it contains."""
    if kind == "text" and len(text) > _BRIEF:
        text = text[: _BRIEF - 1] + "…"
    return Text(visible(text))
