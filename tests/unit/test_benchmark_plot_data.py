"""What the plots of the benchmarks show."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.measurements import Measurement, Results
from benchmarks.plots.data import Point, bars, curves, points, spread_labels


def test_bars_are_sorted_and_titled() -> None:
    results = Results()
    for samples in ([300.0], [400.0], [350.0]):
        results.add("adk", {"applied events": samples})
    results.add("zdk", {"applied events": [17_000.0]})
    first, second = bars(results, "applied events")
    assert (first.contestant, first.value) == ("zdk", 17_000.0)
    assert "ADK" in second.title
    assert (second.value, second.low, second.high) == (350.0, 300.0, 400.0)


def test_there_are_no_bars_of_what_was_not_measured() -> None:
    assert bars(Results(), "applied events") == []


def test_curves_are_those_that_were_measured() -> None:
    results = Results()
    results.add("celery", {"echo": [0.003, 0.001, 0.002]})
    (curve,) = curves(results)
    assert curve.contestant == "celery"
    assert curve.seconds == [0.001, 0.002, 0.003]
    assert curve.shares[-1] == 1.0


def test_points_are_grouped_by_name_and_sorted_by_size() -> None:
    found = points(
        {
            "zdk at 20000": Measurement([[3.0]]),
            "zdk at 0": Measurement([[1.0], [2.0], [5.0]]),
            "adk at 200": Measurement([[9.0]]),
        }
    )
    assert found == {
        "zdk": [Point(0, 2.0, 1.0, 5.0), Point(20_000, 3.0, 3.0, 3.0)],
        "adk": [Point(200, 9.0, 9.0, 9.0)],
    }


def test_a_contestant_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="zdk"):
        points({"zdk": Measurement([[1.0]])})


def test_labels_that_are_far_apart_stay() -> None:
    assert spread_labels([0.0, 3.0, 1.0], 0.5) == [0.0, 3.0, 1.0]


def test_labels_are_moved_apart_in_their_order() -> None:
    heights = [1.0, 1.1, 0.9, 5.0]
    moved = spread_labels(heights, 0.5)
    ranked = sorted(moved)
    assert all(above - below >= 0.5 - 1e-9 for below, above in pairwise(ranked))
    assert [moved.index(height) for height in ranked] == [2, 0, 1, 3]
    assert spread_labels([], 0.5) == []
