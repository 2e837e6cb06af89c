"""Statistics of benchmarks: medians, percentiles, what results hold, numbers with units."""

from __future__ import annotations

import json

import pytest

from benchmarks.measurements import Measurement, Results
from benchmarks.statistics import distribution, median, percentile
from benchmarks.units import shown


@pytest.mark.parametrize(
    ("samples", "expected"), [([3.0], 3.0), ([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 3.0], 2.5)]
)
def test_median(samples: list[float], expected: float) -> None:
    assert median(samples) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1, 100)])
def test_a_percentile_is_one_of_the_samples(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_a_percentile_between_two_samples_is_the_greater() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.1) == 1.0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_out_of_bounds_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        median([])
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_a_distribution_rises_to_one() -> None:
    assert distribution([3.0, 1.0, 2.0, 2.0]) == ([1.0, 2.0, 2.0, 3.0], [0.25, 0.5, 0.75, 1.0])


def test_a_measurement_is_the_median_of_its_rounds() -> None:
    # One slow round, however many samples it has, does not move the value.
    found = Measurement([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [90.0] * 50])
    assert found.medians == [2.0, 3.0, 90.0]
    assert found.value == 3.0
    assert found.spread == (2.0, 90.0)
    assert len(found.samples) == 56


def test_results_survive_json() -> None:
    results = Results()
    results.add("zdk", {"accepted": [0.00123456789, 0.002], "applied": [0.004]})
    results.add("zdk", {"accepted": [0.003]})
    results.missing["adk"] = "not installed"
    read = Results.from_json(json.loads(json.dumps(results.as_json())))
    assert read.metrics["accepted"]["zdk"].rounds == [[0.00123457, 0.002], [0.003]]
    assert read.metrics["applied"]["zdk"].rounds == [[0.004]]
    assert read.missing == {"adk": "not installed"}


def test_a_metric_without_a_unit_is_refused() -> None:
    with pytest.raises(KeyError):
        Results().add("zdk", {"elegance": [1.0]})


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.00312, "s", "3.12 ms"),
        (0.0000456, "s", "45.6 µs"),
        (2.5, "s", "2.5 s"),
        (17_312.4, "events/s", "17,312 /s"),
        (64 * 2.0**20, "bytes", "64 MiB"),
        (1.5 * 2.0**30, "bytes/s", "1.5 GiB/s"),
        (0.0, "bytes", "0 KiB"),
    ],
)
def test_numbers_have_units(value: float, unit: str, expected: str) -> None:
    assert shown(value, unit) == expected
