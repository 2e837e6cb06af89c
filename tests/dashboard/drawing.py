"""Draws panels side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.dashboard.panels import Panel

_COLUMNS = 3


@dataclass(frozen=True)
class Line:
    """Attributes: its name, and its points: seconds since 1970 and value."""

    name: str
    points: list[tuple[float, float]]


def draw(drawn: list[tuple[Panel, list[Line]]], caption: str, path: Path) -> None:
    """Draw panels with their lines into a PNG file.

    Parameters:
        caption: what it is a picture of.
    """
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    rows = math.ceil(len(drawn) / _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, _COLUMNS, figsize=(16, 2.5 * rows), layout="constrained", squeeze=False
    )
    for axis, (panel, lines) in zip(axes.flat, drawn, strict=False):
        _draw_panel(axis, panel, lines)
    for axis in [*axes.flat][len(drawn) :]:
        axis.set_axis_off()
    figure.suptitle(caption, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_panel(axis: Any, panel: Panel, lines: list[Line]) -> None:
    first = min(point[0] for line in lines for point in line.points)
    for line in lines:
        axis.plot(
            [at - first for at, _ in line.points],
            [value for _, value in line.points],
            linewidth=1,
            label=line.name,
        )
    axis.set_title(f"{panel.title} ({panel.unit})", fontsize=9, loc="left")
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6, loc="upper left")


def day() -> str:
    """Today, for a caption."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")
