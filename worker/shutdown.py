"""Bounds how long a worker takes to end.

Celery's own bounds do not fit: its warm shutdown (TERM) waits for tasks without end, and its soft
shutdown (QUIT) sleeps for the whole time even if the last task ends at once
(``celery/worker/worker.py``, ``wait_for_soft_shutdown``). And it ends its pool with SIGTERM, which
a process that waits for the database does not notice: the driver goes on waiting.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from billiard import active_children
from celery import Celery, bootsteps
from celery.worker import state

log = logging.getLogger(__name__)

#: Seconds that pool processes get to end once they are told to, until they are killed. Celery then
#: hands back what they had begun.
_POOL_SECONDS = 1.0
#: Seconds after which a worker that has been told to end at once is ended from within. What it
#: had not finished is delivered again.
_LAST_SECONDS = 10.0


def bound_shutdown(app: Celery, grace: float) -> None:
    """Let TERM finish what has begun, for at most ``grace`` seconds; then hand back the rest.

    QUIT waits for that time too, if anything is being done, and then hands back.

    Parameters:
        app: the worker's app; its soft shutdown is set here.
        grace: seconds.
    """
    app.conf.worker_soft_shutdown_timeout = grace
    app.steps["worker"].add(_Bound)


class _Bound(bootsteps.StartStopStep):
    """Has the worker's signals bound the shutdown, from before it first connects to its broker:
    that may hang, too."""

    # The processes that it forks first shall have none of this.
    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Add to Celery's handlers, which are there by now."""
        conf = worker.app.conf
        grace = float(conf.worker_soft_shutdown_timeout)

        def hand_back() -> None:
            log.warning("not finished within %g s: what is left goes back to the queue", grace)
            conf.worker_soft_shutdown_timeout = 0.0
            os.kill(os.getpid(), signal.SIGQUIT)

        def last() -> None:
            # Celery waits only if there is something to wait for.
            wait = float(conf.worker_soft_shutdown_timeout) if state.active_requests else 0.0
            _later(wait + _POOL_SECONDS, _kill_pool)
            _later(wait + _LAST_SECONDS, _end)

        # Celery tells of a shutdown only after its handlers have waited, which may be for ever.
        _before_handler(signal.SIGTERM, lambda: _later(grace, hand_back))
        _before_handler(signal.SIGQUIT, last)


def _kill_pool() -> None:
    for process in active_children():
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _end() -> None:
    log.error("the shutdown hangs: ending at once; what is left is delivered again")
    os._exit(1)


def _before_handler(number: signal.Signals, action: Callable[[], None]) -> None:
    """Run ``action``, too, when a signal comes."""
    handler = signal.getsignal(number)

    def handle(received: int, frame: FrameType | None) -> None:
        action()
        if callable(handler):
            handler(received, frame)

    signal.signal(number, handle)


def _later(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
