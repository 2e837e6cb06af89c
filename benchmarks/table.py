"""The tables that a run prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from benchmarks.lines import Judgement, Line, Verdict
from benchmarks.measurements import UNITS, Measurement, Results
from benchmarks.statistics import percentile
from benchmarks.units import shown, significant

_STYLES = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.ABSENT: "bold yellow"}

#: Samples from which on their tail is worth showing, and how much of it.
_DISTRIBUTION = 100
_TAIL = (0.95, 0.99)
_COLUMNS = ("line", "ours", "peer", "ratio", "required", "verdict")
_TEXTS = ("line", "verdict")


def lines_table(judgements: Sequence[Judgement]) -> Table:
    """One row for each line: ours, the peer's, the ratio, what is required, the verdict."""
    table = Table(title="Lines", title_justify="left", title_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _TEXTS else "right")
    for judged in judgements:
        *cells, verdict = _cells(judged)
        table.add_row(*cells, Text(verdict, style=_STYLES[judged.verdict]))
    return table


def lines_markdown(judgements: Sequence[Judgement]) -> str:
    """The same as a table in Markdown."""
    rules = ["---" if name in _TEXTS else "--:" for name in _COLUMNS]
    rows = [_COLUMNS, rules, *(_cells(judged) for judged in judgements)]
    return "".join(f"|{'|'.join(row)}|\n" for row in rows)


def contestants_table(results: Results) -> Table:
    """One row for each metric and contestant."""
    table = Table(title="Measured", title_justify="left", title_style="bold")
    table.add_column("metric")
    table.add_column("contestant")
    for name in ("median", "least", "most", *(f"p{100 * share:g}" for share in _TAIL), "samples"):
        table.add_column(name, justify="right")
    for metric, contestants in results.metrics.items():
        unit = UNITS[metric]
        table.add_section()
        for name, found in contestants.items():
            low, high = found.spread
            table.add_row(
                metric,
                name,
                shown(found.value, unit),
                shown(low, unit),
                shown(high, unit),
                *_tail(found, unit),
                str(len(found.samples)),
            )
    return table


def required(line: Line) -> str:
    """What a line asks for: ``≥ 40x``, ``≤ 64 MiB``."""
    word = "≥" if line.at_least else "≤"
    if line.peer is None:
        return f"{word} {shown(line.bound, UNITS[line.ours[0]])}"
    return f"{word} {significant(line.bound)}x"


def _cells(judged: Judgement) -> list[str]:
    unit = UNITS[judged.line.ours[0]]
    return [
        judged.line.what,
        _with_spread(judged.ours, unit),
        "" if judged.line.peer is None else _with_spread(judged.peer, unit),
        _ratio(judged),
        required(judged.line),
        judged.verdict.value,
    ]


def _tail(found: Measurement, unit: str) -> list[str]:
    """Percentiles, of distributions only."""
    if len(found.samples) < _DISTRIBUTION:
        return [""] * len(_TAIL)
    return [shown(percentile(found.samples, share), unit) for share in _TAIL]


def _with_spread(found: Measurement | None, unit: str) -> str:
    if found is None:
        return "-"
    low, high = found.spread
    return f"{shown(found.value, unit)} ({_in_percent(low, high, found.value)})"


def _in_percent(low: float, high: float, middle: float) -> str:
    """How far the rounds lie from their median: ``-3%..+5%``."""
    if middle == 0:
        return "0"
    return f"{(low / middle - 1) * 100:+.0f}..{(high / middle - 1) * 100:+.0f}%"


def _ratio(judged: Judgement) -> str:
    if judged.value is None:
        return "-"
    if judged.line.peer is None:
        return ""
    return f"{significant(judged.value)}x"
