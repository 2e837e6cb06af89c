"""Bars: how much each contestant stores in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.measurements import Results
from benchmarks.plots.data import Bar, bars
from benchmarks.plots.style import INK, clean, colour, new_figure, title, write

#: Bars on a logarithmic axis begin somewhere; this is far below every contestant.
_LEFT = 10.0
#: Ways to use a peer that are no line's are shown paler.
_PALE = 0.5
_PANELS = (
    ("applied events", "events per second, one client process (logarithmic)"),
    (
        "single operations",
        "events per second, 8 client processes waiting for each event (logarithmic)",
    ),
)


def draw(results: Results, folder: Path, note: str) -> bool:
    """Draw it, if anything of it was measured; return whether."""
    shown = [(bars(results, metric), label) for metric, label in _PANELS]
    shown = [(found, label) for found, label in shown if found]
    if not shown:
        return False
    heights = [len(found) for found, _ in shown]
    figure = new_figure(8.5, 1.7 + 0.42 * sum(heights) + 0.5 * len(shown))
    panels = figure.subplots(
        len(shown), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    most = max(bar.high for found, _ in shown for bar in found)
    panels[0, 0].set_xscale("log")
    panels[0, 0].set_xlim(_LEFT, 3 * most)
    panels[0, 0].xaxis.set_major_formatter("{x:,.0f}")
    for (found, label), axes in zip(shown, panels[:, 0], strict=True):
        _panel(axes, found)
        axes.set_xlabel(label, fontsize=9, color=INK)
        axes.tick_params(labelbottom=True)
    title(figure, "Events stored per second, durably, on one PostgreSQL", note)
    write(figure, folder, "throughput")
    return True


def _panel(axes: Axes, found: Sequence[Bar]) -> None:
    names = [bar.title for bar in found]
    drawn = axes.barh(
        names,
        [bar.value - _LEFT for bar in found],
        left=_LEFT,
        color=[colour(bar.contestant) for bar in found],
        height=0.62,
    )
    axes.invert_yaxis()
    for row, (bar, rectangle) in enumerate(zip(found, drawn, strict=True)):
        if "," in bar.contestant:
            rectangle.set_alpha(_PALE)
        axes.plot([bar.low, bar.high], [row, row], color=INK, linewidth=1.2)
        axes.text(
            1.06 * max(bar.value, bar.high), row, f"{bar.value:,.0f}", va="center", fontsize=9
        )
    clean(axes, grid="x")
    axes.tick_params(axis="y", length=0)
