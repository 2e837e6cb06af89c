"""What callers have handed over to be copied beside the outbox, and is not copied yet."""

from __future__ import annotations

import threading

#: Sources that wait, each perhaps with an open file, and bytes of theirs in memory. Beyond that,
#: callers are faster than the disk, and would use up the process's files or its memory.
_MOST_SOURCES = 256
_MOST_BYTES = 32 * 1024 * 1024
#: Seconds that a caller then waits at most: it may be an event loop.
_PAUSE = 0.1


class Waiting:
    """Counts them, and makes callers pause when there are many."""

    def __init__(self) -> None:
        self._room = threading.Condition()
        self._sources = 0
        self._bytes = 0

    def enter(self, size: int) -> None:
        """Count a source with ``size`` bytes in memory, after a pause if very many wait."""
        with self._room:
            if not self._has_room():
                self._room.wait_for(self._has_room, _PAUSE)
            self._sources += 1
            self._bytes += size

    def leave(self, size: int) -> None:
        """Count a source that was copied, or refused."""
        with self._room:
            self._sources -= 1
            self._bytes -= size
            if self._has_room():
                self._room.notify_all()

    def _has_room(self) -> bool:
        return self._sources < _MOST_SOURCES and self._bytes < _MOST_BYTES
