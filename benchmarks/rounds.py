"""Interleaved rounds: in each one every contestant has a turn, in rotated order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.measurements import Results

#: Runs one contestant once, and returns the samples by metric.
Turn = Callable[[], Mapping[str, Sequence[float]]]
#: Told of each turn: the round (0 for the warm-up), the contestant, what was measured.
Listener = Callable[[int, str, Mapping[str, Sequence[float]]], object]


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who follows whom in a round: everybody begins in turn, so that no place is anyone's own.

    Parameters:
        names: the contestants.
        round_number: the first that counts is 1.
    """
    first = (round_number - 1) % len(names) if names else 0
    return [*names[first:], *names[:first]]


def interleave(
    turns: Mapping[str, Turn], rounds: int, listener: Listener, *, warm_up: bool = True
) -> Iterator[tuple[str, Mapping[str, Sequence[float]]]]:
    """Run all contestants in each round, after a warm-up whose samples are dropped.

    Parameters:
        turns: by contestant.
        rounds: how many count.
        listener: hears of every turn.
        warm_up: whether there is a round before those that count.
    """
    for number in range(0 if warm_up else 1, rounds + 1):
        for name in order([*turns], number):
            # What the others have left behind is not collected in this one's time.
            gc.collect()
            gc.freeze()
            samples = turns[name]()
            listener(number, name, samples)
            if number:
                yield name, samples


def record(results: Results, measured: Iterator[tuple[str, Mapping[str, Sequence[float]]]]) -> None:
    """Add what `interleave` yields to the results."""
    for name, samples in measured:
        results.add(name, samples)
