"""Medians, percentiles and distributions of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least a share of them does not exceed (the nearest rank).

    Parameters:
        samples: in any order.
        share: above 0, at most 1; 0.99 for the 99th percentile.

    Raises:
        ValueError: there are no samples, or the share is out of bounds.
    """
    if not samples:
        raise ValueError("there are no samples")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    return sorted(samples)[math.ceil(share * len(samples)) - 1]


def median(samples: Sequence[float]) -> float:
    """The middle sample; of an even number, the mean of the two in the middle.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("there are no samples")
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def distribution(samples: Sequence[float]) -> tuple[list[float], list[float]]:
    """The empirical distribution: the samples in order, and the share that each does not exceed."""
    ordered = sorted(samples)
    return ordered, [(rank + 1) / len(ordered) for rank in range(len(ordered))]
