"""Daemon threads that work off a queue, also while the interpreter shuts down.

`concurrent.futures` refuses work as soon as the main thread has ended, which is just when a
client that was never closed must still send what it holds.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Workers:
    """Some threads that run callables in the order given.

    Parameters:
        name: for the threads.
        count: how many.
    """

    def __init__(self, name: str, count: int):
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in one of the threads."""
        self._queue.put(work)

    def close(self, timeout: float) -> None:
        """End the threads after the work given so far, waiting at most ``timeout`` seconds.

        One of them may call this; it ends after its present work.
        """
        for _ in self._threads:
            self._queue.put(None)
        ends = time.monotonic() + timeout
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, ends - time.monotonic()))

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("unexpected error in %s", threading.current_thread().name)
