"""What every blob store does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from api_client.contract.operations import BlobReference


class Batch(Protocol):
    """Blobs that are stored together. What its methods promise holds once the batch has ended
    without an error."""

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store a blob; see `BlobStore.put`."""

    def contains(self, sha256: str, size: int) -> bool:
        """Whether a blob of that size is there; see `BlobStore.contains`."""


class BlobStore(Protocol):
    """Keeps bytes by their SHA-256 (lower-case hexadecimal). Safe to share between threads."""

    def batch(self) -> AbstractContextManager[Batch]:
        """Store several blobs at the cost of few syncs. An error in the block, or at its end,
        leaves those whose promise does not hold to be stored again.

        Raises:
            OSError: at its end, as `put` does.
        """

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

    def remains(self, sha256: str, size: int) -> bool:
        """Whether a blob that was just put, or that `contains` has just found, is still there.

        Cheaper than `contains`. The caller sees to it that the blob cannot expire meanwhile.
        """

    def offer(self, sha256: str, size: int, path: Path) -> bool:
        """Make the bytes of a file reachable, without a copy where that is possible.

        The blob's age starts at zero, but it is `contains` that makes its name survive a crash.

        Parameters:
            sha256, size: what the bytes have been found to hash to, and how many there are.
            path: of a file on disk that survives a crash and is never changed again; the store
                may share it.

        Returns False, and does nothing more, if the blob was there already.

        Raises:
            BlobMismatch: the file has other bytes, or another number of them; as far as it is
                read.
            OSError: as `put`.
        """

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
        """The hashes of blobs that nobody put or asked for during the last ``age`` seconds.

        What interrupted writes and uploads have left for so long is removed on the way.
        """

    def check(self) -> None:
        """Write, read and remove a small blob. Raises OSError if that fails."""

    @property
    def uploads(self) -> Uploads:
        """Blobs of which only parts are there so far."""


class Uploads(Protocol):
    """Large blobs on their way, in parts of `PART_BYTES` that come in any order, from anywhere.

    A part that was put survives this process. No part is trusted in the end: the blob is read and
    compared with its hash when it is whole.
    """

    def put(self, blob: BlobReference, index: int, chunks: Iterable[bytes]) -> None:
        """Keep a part, in place of the same one put before.

        Parameters:
            index: which, from 0; within the blob.
            chunks: its bytes, whose number and hash have been checked.

        Raises:
            OSError: it cannot be written, or the blob is just being finished (`BlockingIOError`).
        """

    def parts(self, blob: BlobReference) -> list[int]:
        """Which parts are there, in order."""

    def finish(self, blob: BlobReference) -> bool:
        """Make a blob of its parts; when this returns True, it survives a crash.

        Returns False if a part is not there. If the whole has another hash, all parts are removed.

        Raises:
            OSError: it cannot be read or written, or somebody is just about it
                (`BlockingIOError`).
        """


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


def matches(sha256: str, size: int, chunks: Iterable[bytes]) -> bool:
    """Whether ``chunks`` are the bytes with that hash and size."""
    try:
        for _ in checked(sha256, size, chunks):
            pass
    except BlobMismatch:
        return False
    return True


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
