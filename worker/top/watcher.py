"""Looks that go on by themselves, so that a part which does not answer holds up nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError

from worker.database.errors import in_words

T = TypeVar("T")

#: Characters of an error that are shown.
_MOST = 200


class Watcher(Generic[T]):
    """Looks at one part again and again, in a thread of its own.

    Parameters:
        open_look: makes the function that looks, which may raise anything.
        interval: seconds between two looks.
    """

    def __init__(self, open_look: Callable[[], Callable[[], T]], interval: float):
        self._open_look = open_look
        self._interval = interval
        self._seen: tuple[T | None, str, float] | None = None
        self._first = threading.Event()
        self._began = time.monotonic()
        self._closed = threading.Event()
        # Nothing can end a thread that waits in a driver; it ends with the process.
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Wait for the first look, for at most so long."""
        self._first.wait(seconds)

    def latest(self, patience: float) -> tuple[T | None, str]:
        """What the last look found, or None and why there is nothing.

        Parameters:
            patience: seconds beyond the interval after which what was found is too old.
        """
        seen = self._seen
        value, error, at = (None, "", self._began) if seen is None else seen
        silent = time.monotonic() - at
        if seen is None or silent > self._interval + patience:
            return None, f"does not answer since {silent:.0f} s"
        return value, error

    def close(self) -> None:
        """Look no more; a look that is going on ends by itself."""
        self._closed.set()

    def _run(self) -> None:
        look: Callable[[], T] | None = None
        while not self._closed.is_set():
            try:
                look = look or self._open_look()
                self._seen = (look(), "", time.monotonic())
            except Exception as error:
                # Whatever goes wrong is what is to be shown.
                self._seen = (None, _brief(error), time.monotonic())
            self._first.set()
            self._closed.wait(self._interval)


def _brief(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        return in_words(error)[:_MOST]
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:_MOST]
