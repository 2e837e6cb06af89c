"""Interleaved rounds: who is measured when, and which samples count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from benchmarks.measurements import Results
from benchmarks.rounds import interleave, order, record


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "cab"), (1, "abc"), (2, "bca"), (3, "cab"), (4, "abc")]
)
def test_everybody_begins_in_turn(number: int, expected: str) -> None:
    assert "".join(order("abc", number)) == expected


def test_the_order_of_nobody_is_empty() -> None:
    assert order([], 1) == []


def test_each_round_has_every_contestant_and_the_warm_up_does_not_count() -> None:
    heard: list[tuple[int, str]] = []
    clock = iter(range(100))

    def turn() -> Mapping[str, Sequence[float]]:
        return {"accepted": [float(next(clock))]}

    def listener(number: int, name: str, samples: Mapping[str, Sequence[float]]) -> None:
        heard.append((number, name))

    results = Results()
    record(results, interleave({"a": turn, "b": turn}, 2, listener))
    assert heard == [(0, "b"), (0, "a"), (1, "a"), (1, "b"), (2, "b"), (2, "a")]
    assert results.metrics["accepted"]["a"].rounds == [[2.0], [5.0]]
    assert results.metrics["accepted"]["b"].rounds == [[3.0], [4.0]]


def test_without_a_warm_up_all_turns_count() -> None:
    results = Results()
    turns = {"a": lambda: {"accepted": [1.0]}}
    record(results, interleave(turns, 2, lambda *_: None, warm_up=False))
    assert results.metrics["accepted"]["a"].rounds == [[1.0], [1.0]]
