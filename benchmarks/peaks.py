"""The most memory that processes have used for a while."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped, unused-ignore]

_SAMPLE_SECONDS = 0.005


class Peaks:
    """Watches processes while it is entered.

    On Linux the kernel keeps the peak itself (VmHWM), and is told to begin anew; where that is not
    allowed, the memory is sampled every 5 ms.

    Parameters:
        pids: which processes.
    """

    def __init__(self, pids: Sequence[int]):
        self._pids = pids
        self._idle: dict[int, int] = {}
        self._sampled: dict[int, int] = {}
        self._ended = threading.Event()
        self._sampler: threading.Thread | None = None

    @property
    def above_idle(self) -> dict[int, int]:
        """By process, the bytes by which its peak lay above what it had when this was entered."""
        return {pid: max(0, self._peak(pid) - idle) for pid, idle in self._idle.items()}

    def __enter__(self) -> Self:
        self._idle = {pid: _resident(pid) for pid in self._pids}
        if not all(_begin_anew(pid) for pid in self._pids):
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._sampler is not None:
            self._sampler.join()

    def _peak(self, pid: int) -> int:
        return self._sampled[pid] if self._sampler is not None else _high_water_mark(pid)

    def _sample(self) -> None:
        self._sampled = dict(self._idle)
        while not self._ended.wait(_SAMPLE_SECONDS):
            for pid in self._pids:
                with suppress(psutil.NoSuchProcess):
                    self._sampled[pid] = max(self._sampled[pid], _resident(pid))


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def _begin_anew(pid: int) -> bool:
    """Reset the kernel's own peak; whether that could be done."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")
