"""What each plot shows, taken from the results; nothing here draws."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.measurements import Measurement, Results
from benchmarks.statistics import distribution

#: Contestants as readers know them.
TITLES = {
    "zdk": "ZDK Storage",
    "zdk, loaded": "ZDK Storage",
    "adk": "ADK DatabaseSessionService, 16 at once",
    "langgraph": "LangGraph AsyncPostgresSaver, 16 at once",
    "langgraph, conversation": "LangGraph, whole conversation each time",
    "langgraph, inline": "LangGraph, text in the checkpoint's row",
    "copy": "limit: COPY + INSERT ON CONFLICT",
    "celery": "one Celery task per event",
}
_AT = re.compile(r"(?P<name>\w+) (?:at|with) (?P<number>\d+)")


@dataclass(frozen=True)
class Bar:
    """One contestant's median, with the least and the greatest of its rounds."""

    contestant: str
    title: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Latency by the share of operations that took no longer."""

    title: str
    contestant: str
    dashed: bool
    shares: list[float]
    seconds: list[float]


@dataclass(frozen=True)
class Point:
    """A median at a size, with the least and the greatest of its rounds."""

    size: int
    value: float
    low: float
    high: float


def bars(results: Results, metric: str) -> list[Bar]:
    """The contestants of a metric, the greatest first."""
    found = [
        Bar(name, TITLES.get(name, name), measured.value, *measured.spread)
        for name, measured in results.metrics.get(metric, {}).items()
    ]
    return sorted(found, key=lambda bar: -bar.value)


#: Metric, contestant, title, and whether it is a second line of the same contestant.
_CURVES = (
    ("accepted", "zdk", "accepted", False),
    ("accepted under load", "zdk, loaded", "accepted, under load", True),
    ("applied", "zdk", "applied", False),
    ("append", "adk", "ADK append_event", False),
    ("echo", "celery", "bare Celery echo", False),
)


def curves(results: Results) -> list[Curve]:
    """The latency distributions that were measured."""
    found = []
    for metric, contestant, title, dashed in _CURVES:
        measured = results.get(metric, contestant)
        if measured is not None:
            seconds, shares = distribution(measured.samples)
            found.append(Curve(title, contestant, dashed, shares, seconds))
    return found


def points(contestants: Mapping[str, Measurement]) -> dict[str, list[Point]]:
    """Contestants such as ``adk at 200``, as a list of points for each name before the number."""
    found: dict[str, list[Point]] = {}
    for contestant, measured in contestants.items():
        match = _AT.fullmatch(contestant)
        if match is None:
            raise ValueError(f"{contestant!r} has no size")
        point = Point(int(match["number"]), measured.value, *measured.spread)
        found.setdefault(match["name"], []).append(point)
    return {name: sorted(series, key=lambda point: point.size) for name, series in found.items()}


def spread_labels(heights: Sequence[float], gap: float) -> list[float]:
    """Move labels apart until none is nearer than ``gap`` to the one below it.

    Parameters:
        heights: where they would be, in any order.
        gap: in the same unit.

    Returns the heights in the order given.
    """
    ranked = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = [*heights]
    for below, above in pairwise(ranked):
        moved[above] = max(moved[above], moved[below] + gap)
    # Half of what the stack has grown is taken back, so that it stays around its middle.
    excess = (sum(moved) - sum(heights)) / len(heights) if heights else 0.0
    return [height - excess for height in moved]
