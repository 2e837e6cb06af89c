"""The steps of applying messages: how long each took, and a span for each if that is traced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from worker.tracing import spans

_durations: ContextVar[dict[str, float] | None] = ContextVar("durations", default=None)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Gather the seconds of each `step` in the block, by name; of one that comes again, all."""
    durations: dict[str, float] = {}
    token = _durations.set(durations)
    begin = time.perf_counter()
    try:
        yield durations
    finally:
        durations["total"] = time.perf_counter() - begin
        _durations.reset(token)


@contextmanager
def step(name: str, database: str) -> Iterator[None]:
    """A step of a transaction.

    Parameters:
        database: which kind it runs in, for the span.
    """
    begin = time.perf_counter()
    try:
        with spans.step(name, database):
            yield
    finally:
        durations = _durations.get()
        if durations is not None:
            durations[name] = durations.get(name, 0.0) + time.perf_counter() - begin
