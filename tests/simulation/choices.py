"""Decisions, read from bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads one decision after the other; zeros, the tamest ones, when the bytes have ended.

    Parameters:
        source: the bytes.
    """

    def __init__(self, source: bytes):
        self._source = source
        self._at = 0

    @property
    def ended(self) -> bool:
        """Whether all bytes have been read."""
        return self._at >= len(self._source)

    def below(self, count: int) -> int:
        """A number from 0 to ``count`` - 1; ``count`` at most 256."""
        if self.ended:
            return 0
        self._at += 1
        return self._source[self._at - 1] % count

    def among(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]
