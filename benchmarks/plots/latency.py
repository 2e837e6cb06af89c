"""Curves: how long operations take, by the share of them that take no longer."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.measurements import Results
from benchmarks.plots.data import curves, spread_labels
from benchmarks.plots.style import INK, clean, colour, new_figure, title, write
from benchmarks.statistics import percentile

#: Beyond it a few outliers would set the scale.
_LAST = 0.99
#: Between labels, in decades of the axis.
_GAP = 0.085


def draw(results: Results, folder: Path, note: str) -> bool:
    """Draw it, if anything of it was measured; return whether."""
    found = curves(results)
    if not found:
        return False
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    ends = []
    for curve in found:
        kept = [
            (share, seconds)
            for share, seconds in zip(curve.shares, curve.seconds, strict=True)
            if share <= _LAST
        ]
        axes.plot(
            [100 * share for share, _ in kept],
            [1000 * seconds for _, seconds in kept],
            color=colour(curve.contestant),
            linestyle="--" if curve.dashed else "-",
            linewidth=1.8,
        )
        ends.append(math.log10(1000 * kept[-1][1]))
    axes.set_yscale("log")
    for curve, end, height in zip(found, ends, spread_labels(ends, _GAP), strict=True):
        middle = 1000 * percentile(curve.seconds, 0.5)
        axes.annotate(
            f"{curve.title}, median {middle:.3g} ms",
            (100 * _LAST, 10**end),
            (102, 10**height),
            color=colour(curve.contestant),
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
    axes.set_xlim(0, 100)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("share of operations that took no longer, %", fontsize=9, color=INK)
    axes.set_ylabel("milliseconds (logarithmic)", fontsize=9, color=INK)
    clean(axes, grid="y")
    title(figure, "One operation at a time: how long until it is accepted, and applied", note)
    write(figure, folder, "latency")
    return True
