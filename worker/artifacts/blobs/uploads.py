"""Blobs that come in parts: ``<root>/uploads/<sha256>-<size>``, and beside it which parts it has.

The file with the suffix ``.parts`` has a byte for each part, 1 once the part is on disk. It is
not synced: after a crash it may claim too much, which the hash of the whole brings to light.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from api_client.contract.durability import sync_folder
from api_client.contract.operations import BlobReference
from api_client.contract.staging import PART_BYTES, part_count
from worker.artifacts.blobs.base import matches
from worker.artifacts.blobs.places import Places

_READ_BYTES = 1024 * 1024
_THERE = b"\x01"
_MARKS = ".parts"


class FileUploads:
    """`Uploads` of a `FilesystemBlobStore`, which several workers may share.

    Parameters:
        places: where blobs go.
    """

    def __init__(self, places: Places):
        self._places = places

    def put(self, blob: BlobReference, index: int, chunks: Iterable[bytes]) -> None:
        """See `Uploads.put`."""
        path = self._path(blob)
        self._places.make(path.parent)
        with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
            # Many may write, but nobody while the whole is being read and named.
            _lock(descriptor, fcntl.LOCK_SH, path)
            offset = index * PART_BYTES
            for chunk in chunks:
                _write(descriptor, chunk, offset)
                offset += len(chunk)
            os.fdatasync(descriptor)
            with _opened(_marks(path), os.O_WRONLY | os.O_CREAT) as marks:
                os.pwrite(marks, _THERE, index)

    def parts(self, blob: BlobReference) -> list[int]:
        """See `Uploads.parts`."""
        path = self._path(blob)
        try:
            marks = _marks(path).read_bytes()[: part_count(blob.size)] if path.exists() else b""
        except FileNotFoundError:
            return []
        return [index for index, mark in enumerate(marks) if mark == _THERE[0]]

    def finish(self, blob: BlobReference) -> bool:
        """See `Uploads.finish`."""
        if len(self.parts(blob)) < part_count(blob.size):
            return False
        path, place = self._path(blob), self._places.made(blob.sha256)
        try:
            with _opened(path, os.O_RDWR) as descriptor:
                _lock(descriptor, fcntl.LOCK_EX, path)
                if not matches(blob.sha256, blob.size, _chunks(descriptor)):
                    self._remove(path)
                    return False
                os.fsync(descriptor)
                os.utime(descriptor)
                os.replace(path, place)
        except FileNotFoundError:
            # Somebody else has just finished it, or removed it.
            return False
        _marks(path).unlink(missing_ok=True)
        sync_folder(place.parent)
        return True

    def remove_older(self, limit: float) -> None:
        """Remove uploads on which nobody has worked since ``limit``, in seconds since 1970."""
        if not self._places.uploads.is_dir():
            return
        for path in self._places.uploads.iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                if path.stat().st_mtime < limit:
                    self._remove_unused(path)

    def _remove_unused(self, path: Path) -> None:
        if path.suffix == _MARKS and path.with_suffix("").exists():
            # They go with their upload, which may be in use.
            return
        with _opened(path, os.O_RDWR) as descriptor:
            _lock(descriptor, fcntl.LOCK_EX, path)
            self._remove(path)

    def _remove(self, path: Path) -> None:
        # The marks first: parts without a mark are only put again.
        _marks(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _path(self, blob: BlobReference) -> Path:
        name = self._places.of(blob.sha256).name
        return self._places.uploads / f"{name}-{blob.size:d}"


def _marks(path: Path) -> Path:
    return path.with_name(path.name + _MARKS)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _lock(descriptor: int, kind: int, path: Path) -> None:
    """Lock a file until it is closed.

    Raises:
        BlockingIOError: somebody else holds it.
        FileNotFoundError: it has been renamed or removed meanwhile.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # A file system without locks. The hash of the whole is what counts.
        return
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise FileNotFoundError(f"{path} has just been replaced")


def _chunks(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while chunk := os.pread(descriptor, _READ_BYTES, offset):
        offset += len(chunk)
        yield chunk
