"""Draws panels side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.dashboard.panels import Panel

_COLUMNS = 3
#: What follows the numbers of an axis, by Grafana's names of units.
_UNITS = {"s": " s", "ops": "/s", "Bps": " B/s", "bytes": " B", "short": "", "percentunit": "%"}
#: Seconds between two points beyond which there was nothing.
_GAP = 1.5
#: Names in one row of a legend.
_NAMES = 3


@dataclass(frozen=True)
class Line:
    """Attributes: its name, and its points: seconds since 1970 and value, NaN if there is none."""

    name: str
    points: list[tuple[float, float]]


def draw(drawn: list[tuple[Panel, list[Line]]], caption: str, path: Path) -> None:
    """Draw panels with their lines into a PNG file.

    Parameters:
        caption: what it is a picture of.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = math.ceil(len(drawn) / _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(16, 2.8 * rows), layout="constrained", squeeze=False
    )
    times = [at for _, lines in drawn for line in lines for at, _ in line.points]
    for axis, (panel, lines) in zip(axes.flat, drawn, strict=False):
        _draw_panel(axis, panel, lines, min(times))
        axis.set_xlim(0, max(times) - min(times))
    for axis in [*axes.flat][len(drawn) :]:
        axis.set_axis_off()
    figure.suptitle(caption, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_panel(axis: Any, panel: Panel, lines: list[Line], begin: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for line in lines:
        points = _with_gaps(line.points)
        axis.plot(
            [at - begin for at, _ in points],
            [value for _, value in points],
            linewidth=1,
            label=line.name,
        )
    axis.set_title(panel.title, fontsize=10, loc="left")
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    # Room above, so that no line hides in the frame.
    axis.set_ylim(0, 1.1 * max(values) or 1)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _told(value, panel.unit)))
    whole = panel.unit == "short" and all(value.is_integer() for value in values)
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    # Below, as in Grafana, where it covers nothing.
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=_NAMES, frameon=False)


def _with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points, with one of no value wherever some are missing, over which no line is drawn."""
    found = points[:1]
    for at, value in points[1:]:
        if at - found[-1][0] > _GAP:
            found.append((at, math.nan))
        found.append((at, value))
    return found


def _told(value: float, unit: str) -> str:
    """A number of an axis. Only seconds are divided: 300 m/s would be a speed."""
    if unit == "percentunit":
        value *= 100
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    for size, prefix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{_UNITS[unit].lstrip()}"
    return f"{value:.3g}{_UNITS[unit]}"


def day() -> str:
    """Today, for a caption."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")
