"""What every blob store does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol


class BlobStore(Protocol):
    """Keeps bytes by their SHA-256 (lower-case hexadecimal). Safe to share between threads."""

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store a blob; when this returns, it survives a crash.

        Parameters:
            sha256, size: what the bytes must hash to and how many there must be.
            chunks: the bytes, in order.

        Raises:
            BlobMismatch: the bytes are not those announced; nothing is stored.
            OSError: the store cannot be written, for example because the disk is full.
        """

    def contains(self, sha256: str, size: int) -> bool:
        """Whether the blob is there in full. If so, its age starts again at zero, so that the
        sweep leaves it to the caller for another grace period."""

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from offset ``start``; fewer only at the end.

        Raises:
            FileNotFoundError: there is no such blob.
        """

    def delete(self, sha256: str) -> None:
        """Remove a blob; one that is not there is no error."""

    def older_than(self, age: float) -> Iterator[str]:
        """The hashes of blobs that nobody put or asked for during the last ``age`` seconds."""

    def check(self) -> None:
        """Write, read and remove a small blob. Raises OSError if that fails."""


class BlobMismatch(Exception):
    """The bytes given are not those announced by hash and size."""


def checked(sha256: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass ``chunks`` on, and raise `BlobMismatch` at their end unless hash and size match."""
    digest = hashlib.sha256()
    count = 0
    for chunk in chunks:
        digest.update(chunk)
        count += len(chunk)
        if count > size:
            break
        yield chunk
    if count != size or digest.hexdigest() != sha256:
        raise BlobMismatch(
            f"expected {size} bytes of {sha256}, got {count} of {digest.hexdigest()}"
        )
