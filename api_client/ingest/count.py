"""Counts what there is to do, while it is being done."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api_client.ingest.walk import File


@dataclass
class Total:
    """What there is to do.

    Attributes:
        files, bytes: counted so far.
        complete: whether that is all.
    """

    files: int = 0
    bytes: int = 0
    complete: bool = False


@contextmanager
def counting(files: Iterable[File]) -> Iterator[Total]:
    """Count ``files`` in a thread of its own, which ends with the block."""
    total = Total()
    ended = threading.Event()
    # A daemon: a file system that does not answer shall not keep the process.
    thread = threading.Thread(
        target=_count, args=(files, total, ended), name="zdk-ingest-count", daemon=True
    )
    thread.start()
    try:
        yield total
    finally:
        ended.set()


def _count(files: Iterable[File], total: Total, ended: threading.Event) -> None:
    for file in files:
        if ended.is_set():
            return
        total.files += 1
        total.bytes += file.size
    total.complete = True
