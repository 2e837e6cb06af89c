"""The thread that turns the pump, and the threads it hands work to."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Protocol

from api_client.outbox.pump import Pump
from api_client.outbox.runtime import Event, Runtime
from api_client.threads import Workers

log = logging.getLogger(__name__)


class Loop(Protocol):
    """Turns a pump."""

    #: What the pump is to be made with.
    runtime: Runtime

    @property
    def running(self) -> bool:
        """Whether the pump is being turned."""

    def start(self, pump: Pump) -> None:
        """Begin to turn ``pump``."""

    def stop(self, timeout: float) -> None:
        """Stop it, waiting at most ``timeout`` seconds."""


class ThreadLoop:
    """Turns a pump in a thread of its own, until it stops or has an unexpected error."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        sender, stager, uploader, reader = self._workers = (
            Workers("zdk-sender", 1),
            # One of them waits for the disk while the others read and hash.
            Workers("zdk-stager", 3),
            Workers("zdk-uploader", 2),
            Workers("zdk-reader", 2),
        )
        self.runtime = Runtime(
            self._events.put, time.monotonic, time.time, sender, stager, uploader, reader
        )
        self._thread: threading.Thread | None = None
        self.running = False

    def start(self, pump: Pump) -> None:
        """See `Loop.start`."""
        self._pump = pump
        self.running = True
        self._thread = threading.Thread(target=self._run, name="zdk-outbox", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """See `Loop.stop`."""
        ends = time.monotonic() + timeout
        if self._thread is not None:
            self._pump.stop()
            self._thread.join(timeout)
        for workers in self._workers:
            workers.close(max(0.0, ends - time.monotonic()))

    def _run(self) -> None:
        try:
            # The first turn begins with what a former client has left.
            due = self._pump.turn(())
            while not self._pump.stopped:
                due = self._pump.turn(self._wait(due))
        except Exception as error:
            log.exception("the outbox has stopped after an unexpected error")
            # First, so that nothing comes in that would not be failed.
            self.running = False
            self._pump.abort(self._here(), error)
            raise
        finally:
            self.running = False

    def _wait(self, due: float | None) -> list[Event]:
        """All events there are, after waiting for one, or until ``due``."""
        timeout = None if due is None else max(0.0, due - time.monotonic())
        try:
            return [self._events.get(timeout=timeout), *self._here()]
        except queue.Empty:
            return []

    def _here(self) -> list[Event]:
        found = []
        try:
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found
