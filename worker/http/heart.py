"""What writes the pulse: the worker's own loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from celery.worker import state

from worker.health.pulse import Beat, Pulse


class Heart:
    """Beats in the main process, about once a second.

    Parameters:
        pulse: where it is seen.
        processes: how many the pool has.
    """

    def __init__(self, pulse: Pulse, processes: Callable[[], int]):
        self._pulse = pulse
        self._processes = processes
        self._begun = 0
        self._waiting_since = 0.0
        self._ending_since = 0.0

    def beat(self) -> None:
        """Show that the loop turns, and what the pool does."""
        now = time.monotonic()
        busy = len(state.active_requests)
        taken = max(0, len(state.reserved_requests) - busy)
        begun = state.all_total_count[0]
        if not taken or begun != self._begun:
            self._waiting_since = now if taken else 0.0
        self._begun = begun
        processes = self._processes()
        self._pulse.write(
            Beat(now, processes, busy, taken, self._waiting_since, self._ending_since)
        )

    def end(self) -> None:
        """Show that the worker finishes what has begun, during which its loop need not turn. Later
        beats, such as when the pool ends, show the same."""
        self._ending_since = self._ending_since or time.monotonic()
        self.beat()
