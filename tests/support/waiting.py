"""Waiting for what no event tells of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def wait_until(found: Callable[[], T], what: str, *, timeout: float = 30.0) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises:
        TimeoutError: it has not become true in time; the message says ``what`` was waited for and
            what the last answer was.
    """
    deadline = time.monotonic() + timeout
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s; it is {answer!r}")
        time.sleep(_PAUSE)
    return answer
