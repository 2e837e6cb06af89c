"""Blobs in this process, for tests and for data that need not last."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator

from worker.artifacts.blobs.base import checked


class MemoryBlobStore:
    """A `BlobStore` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[str, bytes] = {}
        self._touched: dict[str, float] = {}

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        data = b"".join(checked(sha256, size, chunks))
        with self._lock:
            self._blobs[sha256] = data
            self._touched[sha256] = time.monotonic()

    def contains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.contains`."""
        with self._lock:
            found = len(self._blobs.get(sha256, b"")) == size and sha256 in self._blobs
            if found:
                self._touched[sha256] = time.monotonic()
            return found

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """See `BlobStore.read`."""
        try:
            return self._blobs[sha256][start : start + length]
        except KeyError:
            raise FileNotFoundError(f"no blob {sha256}") from None

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        with self._lock:
            self._forget(sha256)

    def expire(self, sha256: str, age: float) -> bool:
        """See `BlobStore.expire`."""
        with self._lock:
            if self._touched.get(sha256, -math.inf) >= time.monotonic() - age:
                return False
            self._forget(sha256)
            return True

    def older_than(self, age: float) -> Iterator[str]:
        """See `BlobStore.older_than`."""
        limit = time.monotonic() - age
        with self._lock:
            found = [sha256 for sha256, touched in self._touched.items() if touched < limit]
        return iter(found)

    def check(self) -> None:
        """Memory is always there."""

    def _forget(self, sha256: str) -> None:
        self._blobs.pop(sha256, None)
        self._touched.pop(sha256, None)
