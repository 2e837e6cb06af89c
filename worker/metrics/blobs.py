"""A blob store that counts the bytes which go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api_client.contract.operations import BlobReference
from worker.artifacts.blobs.base import Batch, BlobStore, Uploads
from worker.metrics.work import Counts


class CountedBlobs:
    """A `BlobStore` over another one. Not a `Quarantine`: workers set nothing aside.

    Parameters:
        blobs: the other one.
        counts: told of the bytes.
    """

    def __init__(self, blobs: BlobStore, counts: Counts):
        self._blobs = blobs
        self._counts = counts

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """See `BlobStore.batch`."""
        with self._blobs.batch() as batch:
            yield _CountedBatch(batch, self._counts)

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        self._blobs.put(sha256, size, chunks)
        self._counts.wrote(size)

    def contains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.contains`."""
        return self._blobs.contains(sha256, size)

    def remains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.remains`."""
        return self._blobs.remains(sha256, size)

    def offer(self, sha256: str, size: int, path: Path) -> bool:
        """See `BlobStore.offer`."""
        taken = self._blobs.offer(sha256, size, path)
        if taken:
            self._counts.wrote(size)
        return taken

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """See `BlobStore.read`."""
        found = self._blobs.read(sha256, start, length)
        self._counts.read(len(found))
        return found

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._blobs.delete(sha256)

    def expire(self, sha256: str, age: float) -> bool:
        """See `BlobStore.expire`."""
        return self._blobs.expire(sha256, age)

    def older_than(self, age: float) -> Iterator[str]:
        """See `BlobStore.older_than`."""
        return self._blobs.older_than(age)

    def check(self) -> None:
        """See `BlobStore.check`."""
        self._blobs.check()

    @property
    def uploads(self) -> Uploads:
        """See `BlobStore.uploads`."""
        return _CountedUploads(self._blobs.uploads, self._counts)


class _CountedBatch:
    def __init__(self, batch: Batch, counts: Counts):
        self._batch = batch
        self._counts = counts
        self.contains = batch.contains

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        self._batch.put(sha256, size, chunks)
        self._counts.wrote(size)


class _CountedUploads:
    def __init__(self, uploads: Uploads, counts: Counts):
        self._uploads = uploads
        self._counts = counts
        self.parts = uploads.parts
        self.finish = uploads.finish

    def put(self, blob: BlobReference, index: int, chunks: Iterable[bytes]) -> None:
        self._uploads.put(blob, index, _passed(chunks, self._counts.wrote))


def _passed(chunks: Iterable[bytes], tell: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        tell(len(chunk))
