"""Asking what may not answer: bounded in time, never twice at once, and not too often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds for which an answer is kept.
_KEPT = 5.0


class Asked(Generic[T]):
    """Something that is asked in a thread of its own. Thread-safe.

    Parameters:
        ask: gives the answer, or raises.
        clock: seconds, for tests.
    """

    def __init__(self, ask: Callable[[], T], clock: Callable[[], float] = time.monotonic):
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._known_until = 0.0

    def begin(self) -> Future[T]:
        """The answer: one that is at most five seconds old, one that somebody is waiting for
        already, or a new one."""
        with self._lock:
            answer = self._answer
            if answer is None or (answer.done() and self._clock() >= self._known_until):
                answer = self._answer = Future()
                threading.Thread(target=self._run, args=(answer,), daemon=True).start()
            return answer

    def _run(self, answer: Future[T]) -> None:
        try:
            found = self._ask()
        except Exception as error:
            self._known_until = self._clock() + _KEPT
            answer.set_exception(error)
        else:
            self._known_until = self._clock() + _KEPT
            answer.set_result(found)


def left_until(deadline: float) -> float:
    """Seconds until a moment of `time.monotonic`; 0 if it has passed."""
    return max(0.0, deadline - time.monotonic())
