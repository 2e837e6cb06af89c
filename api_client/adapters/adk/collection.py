"""Holds off Python's search for cycles while many objects are made that are in none."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
#: Blocks that are being run, and whether the first of them has switched the search off.
_blocks = 0
_switched_off = False


@contextmanager
def collection_held_off() -> Iterator[None]:
    """Have no search for cycles in this process during the block, which must be short.

    A page of a thousand events is some fifty thousand new objects, and Python would look through
    all of the program's objects again for that, which can take longer than to make them. What
    becomes garbage meanwhile is found after the block. A program that has switched the search off
    keeps it off.
    """
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    global _blocks, _switched_off
    with _lock:
        if _blocks == 0:
            _switched_off = gc.isenabled()
            gc.disable()
        _blocks += 1


def _end() -> None:
    global _blocks
    with _lock:
        _blocks -= 1
        if _blocks == 0 and _switched_off:
            gc.enable()
