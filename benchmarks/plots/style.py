"""How all plots look: few lines, labels beside what they name, colours for the colour-blind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {
    "zdk": "#0072B2",
    "zdk, loaded": "#0072B2",
    "adk": "#D55E00",
    "langgraph": "#009E73",
    "langgraph, conversation": "#009E73",
    "langgraph, inline": "#009E73",
    "openai-agents": "#E69F00",
    "celery": "#CC79A7",
}
#: Limits, and whatever else is no contestant.
GREY = "#7F7F7F"
#: For text, beside which pure black is too loud.
INK = "#222222"
_DPI = 150


def colour(contestant: str) -> str:
    """The colour of a contestant."""
    return COLOURS.get(contestant, GREY)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure.

    Parameters:
        width, height: in inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def clean(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    """Take away what carries no information.

    Parameters:
        grid: the axis whose values are to be read.
    """
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, which="both")
    axes.grid(True, axis=grid, which="major", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)


def title(figure: Figure, text: str, note: str) -> None:
    """Say above the figure what it shows, and below it where it comes from."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color=GREY)


def write(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as PNG and as SVG."""
    figure.savefig(folder / f"{name}.png", dpi=_DPI)
    # Without a date and random ids, the same figures give the same file.
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
