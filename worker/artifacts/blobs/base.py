"""What every blob store does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable


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
        """Whether a blob of that size is there; its bytes are not read. If so, it survives a
        crash, and its age starts again at zero, so that the sweep leaves it to the caller for
        another grace period."""

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from offset ``start``; fewer only at the end.

        Raises:
            FileNotFoundError: there is no such blob.
        """

    def delete(self, sha256: str) -> None:
        """Remove a blob; one that is not there is no error."""

    def expire(self, sha256: str, age: float) -> bool:
        """Remove a blob unless somebody has put or asked for it during the last ``age`` seconds.

        Returns whether it is gone, by this call or before.
        """

    def older_than(self, age: float) -> Iterator[str]:
        """The hashes of blobs that nobody put or asked for during the last ``age`` seconds."""

    def check(self) -> None:
        """Write, read and remove a small blob. Raises OSError if that fails."""


@runtime_checkable
class Quarantine(Protocol):
    """What a blob store may also do: move damaged blobs out of the way."""

    def set_aside(self, sha256: str, size: int, alone: AbstractContextManager[object]) -> bool:
        """Move a blob aside if its bytes are wrong, so that a save of the right ones keeps them.

        Parameters:
            sha256, size: what its bytes must hash to and how many there must be.
            alone: entered for the moment of the move; keeps saves of this content from
                committing, which would otherwise rely on what is just being moved.

        Returns whether it was moved; not if it is whole, missing, or was just put anew.

        Raises:
            OSError: it cannot be read or moved.
        """


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
