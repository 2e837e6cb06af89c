"""Lines: what appending and loading take as a session grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.measurements import Results
from benchmarks.plots.data import Point, points
from benchmarks.plots.style import INK, clean, colour, new_figure, title, write

#: Metric, title, and whether the values span so much that their axis is logarithmic.
_PANELS = (
    ("append by length", "append one event: milliseconds, median", False),
    ("load by length", "load the whole session: milliseconds (logarithmic)", True),
)
_TITLES = {"zdk": "ZDK Storage", "adk": "ADK"}
#: The axis is linear up to here, so that it has a place for 0.
_LINEAR = 200


def draw(results: Results, folder: Path, note: str) -> bool:
    """Draw it, if anything of it was measured; return whether."""
    shown = [
        (points(results.metrics[metric]), label, logarithmic)
        for metric, label, logarithmic in _PANELS
        if metric in results.metrics
    ]
    if not shown:
        return False
    figure = new_figure(9.5, 4.2)
    panels = figure.subplots(1, len(shown), squeeze=False)
    for (series, label, logarithmic), axes in zip(shown, panels[0], strict=True):
        for name, found in series.items():
            _line(axes, name, found)
        axes.set_title(label, fontsize=10, color=INK, loc="left")
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.15 * max(1000 * p.high for found in series.values() for p in found))
        _axes(axes, sorted({point.size for found in series.values() for point in found}))
    title(figure, "What a session's length costs", note)
    write(figure, folder, "growth")
    return True


def _line(axes: Axes, name: str, found: Sequence[Point]) -> None:
    sizes = [point.size for point in found]
    axes.fill_between(
        sizes,
        [1000 * point.low for point in found],
        [1000 * point.high for point in found],
        color=colour(name),
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(
        sizes,
        [1000 * point.value for point in found],
        color=colour(name),
        linewidth=1.8,
        marker="o",
        markersize=4,
    )
    last = found[-1]
    axes.annotate(
        _TITLES.get(name, name),
        (last.size, 1000 * last.value),
        (6, 0),
        textcoords="offset points",
        color=colour(name),
        fontsize=9,
        va="center",
        # Readable where another line passes.
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        annotation_clip=False,
    )


def _axes(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("symlog", linthresh=_LINEAR)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
    axes.minorticks_off()
    axes.set_xlim(-20, 1.1 * sizes[-1])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("events in the session (logarithmic from 200 on)", fontsize=9, color=INK)
    clean(axes, grid="y")
