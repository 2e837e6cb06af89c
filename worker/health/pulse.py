"""What a worker's main process shows of itself, in memory that it shares with its HTTP endpoint.

Shared memory, and not a file, because a full disk must not look like a worker that hangs.
"""

from __future__ import annotations

import mmap
import struct
import time
from dataclasses import astuple, dataclass

_FORM = struct.Struct("dddddd")


@dataclass(frozen=True)
class Beat:
    """One turn of the worker's loop. Times are of `time.monotonic`, which all processes share.

    Attributes:
        at: when the loop turned last.
        processes: of the pool.
        busy: tasks that they are doing.
        taken: tasks taken in advance that no process does yet.
        waiting_since: since when there are such and no process has begun one; 0 if not.
        ending_since: since when the worker finishes what has begun in order to end; 0 if not.
    """

    at: float
    processes: float = 0
    busy: float = 0
    taken: float = 0
    waiting_since: float = 0
    ending_since: float = 0


class Pulse:
    """The last `Beat`. A forked child sees what its parent writes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _FORM.size)
        self.write(Beat(time.monotonic()))

    def write(self, beat: Beat) -> None:
        """Show a new one."""
        self._memory[:] = _FORM.pack(*astuple(beat))

    def read(self) -> Beat:
        """The last one."""
        return Beat(*_FORM.unpack(self._memory))
