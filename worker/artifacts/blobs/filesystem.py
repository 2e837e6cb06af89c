"""Blobs as files: ``<root>/<first two hex digits>/<sha256>``.

A blob is written to ``<root>/incoming``, fsynced, renamed to its place, and the folder fsynced:
after a crash it is there in full or not at all, and a leftover in ``incoming`` is swept. Blobs
that were found damaged are moved to ``<root>/damaged``, for a person to look at and remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from worker.artifacts.blobs.base import BlobMismatch, checked
from worker.artifacts.blobs.folders import Folders, sync_folder

_BLOB_NAME = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 1024 * 1024


class FilesystemBlobStore:
    """A `BlobStore` in a folder, which several workers may share.

    Parameters:
        root: the folder; made on the first write, with its parents.
    """

    def __init__(self, root: Path):
        self.root = root.absolute()
        self._incoming = self.root / "incoming"
        self._damaged = self.root / "damaged"
        self._folders = Folders(self.root)

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        place = self._place(sha256)
        self._folders.make(self._incoming)
        self._folders.make(place.parent)
        descriptor, temporary = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _mark_in_use(file)
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
        # Whoever renamed it may have been killed before it synced the folder, or not be there yet.
        sync_folder(place.parent)
        return True

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """See `BlobStore.read`."""
        with open(self._place(sha256), "rb") as file:
            file.seek(start)
            return file.read(length)

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._place(sha256).unlink(missing_ok=True)

    def expire(self, sha256: str, age: float) -> bool:
        """See `BlobStore.expire`."""
        place = self._place(sha256)
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime >= time.time() - age:
                return False
            place.unlink()
        return True

    def set_aside(
        self, sha256: str, size: int, alone: contextlib.AbstractContextManager[object]
    ) -> bool:
        """See `Quarantine.set_aside`. It becomes ``<root>/damaged/<sha256>``."""
        place = self._place(sha256)
        with contextlib.suppress(FileNotFoundError), open(place, "rb") as file:
            if _holds(file, sha256, size):
                return False
            with alone:
                # While it was read, a save may have put the right bytes in its place.
                if not os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return False
                self._folders.make(self._damaged)
                os.replace(place, self._damaged / sha256)
                return True
        return False

    def older_than(self, age: float) -> Iterator[str]:
        """See `BlobStore.older_than`. Leftovers of interrupted writes are removed on the way."""
        limit = time.time() - age
        for path in self._files("incoming"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit and not _in_use(path):
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


def _mark_in_use(file: BinaryIO) -> None:
    """Keep the sweep from a temporary file, however slowly it is written, until it is closed."""
    # A file system without locks has the grace period only.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def _in_use(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # It is another user's, or there are no locks here: its age decides.
        return False
    return False


def _holds(file: BinaryIO, sha256: str, size: int) -> bool:
    try:
        for _ in checked(sha256, size, iter(partial(file.read, _READ_BYTES), b"")):
            pass
    except BlobMismatch:
        return False
    return True
