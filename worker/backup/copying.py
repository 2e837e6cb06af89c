"""Copies blobs from one store to another; what is there already is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from api_client.contract.limits import MIB
from api_client.contract.operations import BlobReference
from worker.artifacts.blobs.base import BlobMismatch, BlobStore

_READ_BYTES = 4 * MIB


class OnProgress(Protocol):
    """Told how far it is."""

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` bytes are there."""


class Progress:
    """Counts bytes, and tells.

    Parameters:
        total: bytes there are to do.
        tell: told at each step.
    """

    def __init__(self, total: int, tell: OnProgress):
        self._total = total
        self._tell = tell
        self._done = 0

    def __call__(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        self._tell(self._done, self._total)


@dataclass
class Copied:
    """What became of the blobs.

    Attributes:
        new, new_bytes: how many were copied, and their bytes.
        missing: the hashes of those that could not be read, or whose bytes are wrong.
    """

    new: int = 0
    new_bytes: int = 0
    missing: list[str] = field(default_factory=list)


def copy_blobs(
    blobs: Iterable[BlobReference],
    source: BlobStore,
    target: BlobStore,
    present: Callable[[BlobReference], bool],
    on_bytes: Callable[[int], None],
) -> Copied:
    """Copy blobs, each compared with its hash on the way.

    Parameters:
        present: whether the target has a blob already.
        on_bytes: told how many bytes are done, blob by blob.

    Raises:
        OSError: the target cannot be written.
    """
    copied = Copied()
    for blob in blobs:
        if not present(blob):
            try:
                target.put(blob.sha256, blob.size, _read(source, blob))
                copied.new += 1
                copied.new_bytes += blob.size
            except (_Unreadable, BlobMismatch):
                copied.missing.append(blob.sha256)
        on_bytes(blob.size)
    return copied


class _Unreadable(Exception):
    """The source cannot read a blob; unlike an OSError of the target."""


def _read(source: BlobStore, blob: BlobReference) -> Iterator[bytes]:
    start = 0
    # An empty one is read too: it may be missing.
    while start < blob.size or start == 0:
        try:
            chunk = source.read(blob.sha256, start, _READ_BYTES)
        except OSError as error:
            raise _Unreadable(blob.sha256) from error
        if not chunk:
            return
        start += len(chunk)
        yield chunk
