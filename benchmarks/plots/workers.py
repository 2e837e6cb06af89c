"""A line: what more pool processes give."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measurements import Results
from benchmarks.plots.data import points
from benchmarks.plots.style import INK, clean, colour, new_figure, title, write

_METRIC = "applied events by workers"


def draw(results: Results, folder: Path, note: str) -> bool:
    """Draw it, if anything of it was measured; return whether."""
    if _METRIC not in results.metrics:
        return False
    (found,) = points(results.metrics[_METRIC]).values()
    figure = new_figure(8.5, 4.0)
    axes = figure.subplots()
    sizes = [point.size for point in found]
    values = [point.value for point in found]
    below = [point.value - point.low for point in found]
    above = [point.high - point.value for point in found]
    axes.errorbar(
        sizes,
        values,
        yerr=[below, above],
        color=colour("zdk"),
        marker="o",
        markersize=5,
        linewidth=1.8,
        elinewidth=1.2,
        capsize=3,
    )
    for point in found:
        axes.annotate(
            f"{point.value:,.0f}",
            (point.size, point.high),
            (0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_ylim(0, 1.2 * max(point.high for point in found))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("pool processes of one worker (logarithmic)", fontsize=9, color=INK)
    axes.set_ylabel("events applied per second", fontsize=9, color=INK)
    clean(axes, grid="y")
    title(figure, "What more pool processes give, everything on one machine", note)
    write(figure, folder, "workers")
    return True
