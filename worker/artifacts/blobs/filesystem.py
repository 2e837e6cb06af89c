"""Blobs as files: ``<root>/<first two hex digits>/<sha256>``.

A blob is written to ``<root>/incoming``, fsynced, renamed to its place, and the folder fsynced:
after a crash it is there in full or not at all, and a leftover in ``incoming`` is swept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.artifacts.blobs.base import checked

_BLOB_NAME = re.compile(r"[0-9a-f]{64}")


class FilesystemBlobStore:
    """A `BlobStore` in a folder, which several workers may share.

    Parameters:
        root: the folder; made on the first write, with its parents.
    """

    def __init__(self, root: Path):
        self.root = root.absolute()
        self._incoming = self.root / "incoming"

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        place = self._place(sha256)
        make_folders(self._incoming)
        make_folders(place.parent)
        descriptor, temporary = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in checked(sha256, size, chunks):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        except BaseException:
            # After a failed fsync the descriptor's state is unknown; a new try writes a new file.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_folder(place.parent)

    def contains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.contains`."""
        place = self._place(sha256)
        try:
            if place.stat().st_size != size:
                return False
            os.utime(place)
        except FileNotFoundError:
            return False
        return True

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """See `BlobStore.read`."""
        with open(self._place(sha256), "rb") as file:
            file.seek(start)
            return file.read(length)

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._place(sha256).unlink(missing_ok=True)

    def older_than(self, age: float) -> Iterator[str]:
        """See `BlobStore.older_than`. Leftovers of interrupted writes are removed on the way."""
        limit = time.time() - age
        for path in self._files("incoming"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
        for path in self._files("[0-9a-f][0-9a-f]"):
            with contextlib.suppress(FileNotFoundError):
                if _BLOB_NAME.fullmatch(path.name) and path.stat().st_mtime < limit:
                    yield path.name

    def check(self) -> None:
        """See `BlobStore.check`."""
        data = os.urandom(16)
        sha256 = hashlib.sha256(data).hexdigest()
        self.put(sha256, len(data), [data])
        try:
            if self.read(sha256, 0, len(data)) != data:
                raise OSError(f"{self.root} did not return what was written")
        finally:
            self.delete(sha256)

    def _place(self, sha256: str) -> Path:
        if not _BLOB_NAME.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256!r}")
        return self.root / sha256[:2] / sha256

    def _files(self, pattern: str) -> Iterator[Path]:
        return (path for folder in self.root.glob(pattern) for path in folder.iterdir())


def make_folders(folder: Path) -> None:
    """Make ``folder`` and its missing parents so that they survive a crash."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """fsync a folder, which makes the names in it survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
