"""Runs callers' callbacks in a thread of their own.

A callback may wait for this very client: for another receipt, for a flush, for the end. In a thread
that the outbox needs, it would wait for itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api_client.threads import Workers

log = logging.getLogger(__name__)


class Callbacks:
    """One thread that begins with the first callback."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._thread: Workers | None = None

    def submit(self, call: Callable[[], object]) -> None:
        """Run ``call`` in the thread; here, if that has been ended."""
        with self._lock:
            if not self._closed:
                self._thread = self._thread or Workers("zdk-callbacks", 1)
                self._thread.submit(lambda: _run(call))
                return
        _run(call)

    def close(self, timeout: float) -> None:
        """End the thread after what it was given, waiting at most ``timeout`` seconds."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.close(timeout)


def _run(call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException:
        # Also `sys.exit()`, which would end the thread, and with it all later callbacks.
        log.exception("a callback of a receipt has failed")
