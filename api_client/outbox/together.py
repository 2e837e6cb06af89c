"""Files that are made to survive a crash together."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api_client.contract.durability import sync_all

#: Files that wait for a sync at most, each of them open; who brings one more syncs it by itself.
_MOST = 128

#: Told that the file is safe (None), or why it is not.
Then = Callable[[OSError | None], None]


@dataclass(frozen=True)
class _Waiting:
    descriptor: int
    then: Then


class Together:
    """Syncs files of one folder, with one another if they come at about the same time.

    Nobody waits for company: the first syncs at once what is there, and meanwhile others gather
    for the next sync. It runs in a thread of one of those who bring files.

    Parameters:
        folder: where the files are; it is synced as well.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._syncing = False

    def add(self, descriptor: int, then: Then) -> None:
        """Sync an open file, close it, and call ``then``; perhaps in another thread, later."""
        with self._lock:
            self._waiting.append(_Waiting(descriptor, then))
            if self._syncing and len(self._waiting) <= _MOST:
                return
            alone = self._syncing
            self._syncing = True
        if alone:
            self._sync(self._taken())
            return
        while group := self._taken(last=True):
            self._sync(group)

    def _taken(self, *, last: bool = False) -> list[_Waiting]:
        """All that wait; ``last``: if there are none, the next to come syncs."""
        with self._lock:
            group = [*self._waiting]
            self._waiting.clear()
            if last and not group:
                self._syncing = False
            return group

    def _sync(self, group: list[_Waiting]) -> None:
        try:
            self._sync_files([waiting.descriptor for waiting in group])
            error = None
        except OSError as caught:
            error = caught
        finally:
            for waiting in group:
                os.close(waiting.descriptor)
        for waiting in group:
            waiting.then(error)

    def _sync_files(self, descriptors: list[int]) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            sync_all([*descriptors, folder])
        finally:
            os.close(folder)
