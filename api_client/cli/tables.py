"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from api_client.cli.output import visible
from api_client.contract.codec import encode

#: Characters of a long text that are shown even where a line may have any length.
_BRIEF = 200

#: Columns of the terminal that a text gets at least; keys are folded to make room for them.
_TEXT_WIDTH = 16

#: What a column holds. A key is never cut, because people copy it; a text is cut where the line
#: ends, and so takes the room that the others leave.
Kind = Literal["key", "word", "number", "text"]


@dataclass(frozen=True)
class Listing:
    """A table without lines, which shows everything as it is, whatever markup it contains.

    Attributes:
        columns: titles, each with what the column holds.
        rows: one text per column.
        titled: whether to print the titles.
    """

    columns: Mapping[str, Kind]
    rows: list[list[str]]
    titled: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Where a line may have any length there is no end to expand to.
        expand = console.is_terminal and "text" in self.columns.values()
        drawn = Table(
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
            header_style="bold",
            show_header=self.titled,
            expand=expand,
        )
        for title, kind in self.columns.items():
            flexible = expand and kind == "text"
            drawn.add_column(
                title,
                justify="right" if kind == "number" else "left",
                overflow="ellipsis" if kind == "text" else "fold",
                no_wrap=kind != "key",
                # With a ratio, the width is what it has at least.
                ratio=1 if flexible else None,
                width=_TEXT_WIDTH if flexible else None,
            )
        for row in self.rows:
            drawn.add_row(*map(_cell, row, self.columns.values()))
        yield drawn


def listing(columns: Mapping[str, Kind], rows: Iterable[list[str]]) -> Listing:
    """A table of ``rows``; columns that are empty in all of them are left out."""
    kept = [*rows]
    filled = [any(cells) for cells in zip(*kept, strict=True)]
    return Listing(
        {title: kind for (title, kind), full in zip(columns.items(), filled, strict=True) if full},
        [[cell for cell, full in zip(row, filled, strict=True) if full] for row in kept],
    )


def facts(pairs: Mapping[str, str]) -> Listing:
    """Names and values, one pair to a line."""
    return Listing(
        {"Name": "word", "Value": "text"}, [[*pair] for pair in pairs.items()], titled=False
    )


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
    if kind == "text" and len(text) > _BRIEF:
        text = text[: _BRIEF - 1] + "…"
    return Text(visible(text))
