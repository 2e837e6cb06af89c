"""Which blobs have names that are known to survive a crash."""

from __future__ import annotations

import os
from pathlib import Path

_Identity = tuple[int, int, int, int]

#: Blobs remembered at most: some megabytes.
_MOST = 10_000


class Known:
    """Remembers blobs whose folders were synced, as long as nobody touches or replaces them."""

    def __init__(self) -> None:
        self._identities: dict[Path, _Identity] = {}

    def add(self, place: Path, found: os.stat_result | None = None) -> None:
        """Remember the blob at ``place``.

        Parameters:
            found: how it was before its folder was synced; if None, as it is now, if it is there.
        """
        if len(self._identities) >= _MOST:
            self._identities.clear()
        try:
            self._identities[place] = _identity(found or os.stat(place))
        except FileNotFoundError:
            self._identities.pop(place, None)

    def as_it_was(self, place: Path) -> bool:
        """Whether the blob there is one remembered, and nothing has happened to it since."""
        known = self._identities.get(place)
        try:
            return known is not None and known == _identity(os.stat(place))
        except FileNotFoundError:
            return False


def _identity(status: os.stat_result) -> _Identity:
    # The time of change is renewed by each touch, rename and link.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
