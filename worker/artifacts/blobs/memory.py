"""Blobs in this process, for tests and for data that need not last."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from api_client.contract.operations import BlobReference
from api_client.contract.staging import part_count
from worker.artifacts.blobs.base import BlobMismatch, checked


class MemoryBlobStore:
    """A `BlobStore` that forgets everything when the process ends.

    Attributes:
        uploads: see `BlobStore.uploads`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[str, bytes] = {}
        self._touched: dict[str, float] = {}
        self.uploads = MemoryUploads(self)

    @contextlib.contextmanager
    def batch(self) -> Iterator[MemoryBlobStore]:
        """See `BlobStore.batch`. Here it is the store itself."""
        yield self

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        data = b"".join(checked(sha256, size, chunks))
        with self._lock:
            self._blobs[sha256] = data
            self._touched[sha256] = time.monotonic()

    def contains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.contains`."""
        with self._lock:
            found = self._holds(sha256, size)
            if found:
                self._touched[sha256] = time.monotonic()
            return found

    def remains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.remains`."""
        with self._lock:
            return self._holds(sha256, size)

    def offer(self, sha256: str, size: int, path: Path) -> bool:
        """See `BlobStore.offer`."""
        if self.contains(sha256, size):
            return False
        self.put(sha256, size, [path.read_bytes()])
        return True

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
        self.uploads.remove_older(limit)
        with self._lock:
            found = [sha256 for sha256, touched in self._touched.items() if touched < limit]
        return iter(found)

    def check(self) -> None:
        """Memory is always there."""

    def _holds(self, sha256: str, size: int) -> bool:
        return len(self._blobs.get(sha256, b"")) == size and sha256 in self._blobs

    def _forget(self, sha256: str) -> None:
        self._blobs.pop(sha256, None)
        self._touched.pop(sha256, None)


class MemoryUploads:
    """`Uploads` of a `MemoryBlobStore`.

    Parameters:
        store: where blobs go when they are whole.
    """

    def __init__(self, store: MemoryBlobStore):
        self._store = store
        self._parts: dict[BlobReference, dict[int, bytes]] = {}
        self._touched: dict[BlobReference, float] = {}

    def put(self, blob: BlobReference, index: int, chunks: Iterable[bytes]) -> None:
        """See `Uploads.put`."""
        self._parts.setdefault(blob, {})[index] = b"".join(chunks)
        self._touched[blob] = time.monotonic()

    def parts(self, blob: BlobReference) -> list[int]:
        """See `Uploads.parts`."""
        return sorted(self._parts.get(blob, ()))

    def finish(self, blob: BlobReference) -> bool:
        """See `Uploads.finish`."""
        if len(self.parts(blob)) < part_count(blob.size):
            return False
        parts = self._parts.pop(blob, {})
        try:
            self._store.put(blob.sha256, blob.size, (parts[index] for index in sorted(parts)))
        except BlobMismatch:
            return False
        return True

    def remove_older(self, limit: float) -> None:
        """Forget uploads on which nobody has worked since ``limit``, by the monotonic clock."""
        for blob in [blob for blob, touched in self._touched.items() if touched < limit]:
            self._parts.pop(blob, None)
            self._touched.pop(blob, None)
