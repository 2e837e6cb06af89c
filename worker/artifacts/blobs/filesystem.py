"""Blobs as files: ``<root>/<first two hex digits>/<sha256>``.

A blob is written to ``<root>/incoming``, fsynced, renamed to its place, and the folder fsynced:
after a crash it is there in full or not at all, and a leftover in ``incoming`` is swept. Blobs
that were found damaged are moved to ``<root>/damaged``, for a person to look at and remove.

Files and folders get the permissions that the umask leaves. Where clients and workers that share
the folder run as different users, give them a group in common, the folder's set-group-ID bit
(``chmod g+s``) and a umask of 002.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from worker.artifacts.blobs.base import BlobMismatch, matches
from worker.artifacts.blobs.batch import FileBatch, made_young, young
from worker.artifacts.blobs.known import Known
from worker.artifacts.blobs.places import BLOB_NAME, Places
from worker.artifacts.blobs.uploads import FileUploads

_READ_BYTES = 1024 * 1024


class FilesystemBlobStore:
    """A `BlobStore` in a folder, which several workers may share.

    Parameters:
        root: the folder; made on the first write, with its parents.

    Attributes:
        uploads: see `BlobStore.uploads`.
    """

    def __init__(self, root: Path):
        self.root = root.absolute()
        self._places = Places(self.root)
        self._known = Known()
        self.uploads = FileUploads(self._places)

    @contextlib.contextmanager
    def batch(self) -> Iterator[FileBatch]:
        """See `BlobStore.batch`."""
        batch = FileBatch(self._places, self._known)
        try:
            yield batch
            batch.end()
        finally:
            batch.abandon()

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `BlobStore.put`."""
        with self.batch() as batch:
            batch.put(sha256, size, chunks)

    def contains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.contains`."""
        with self.batch() as batch:
            return batch.contains(sha256, size)

    def remains(self, sha256: str, size: int) -> bool:
        """See `BlobStore.remains`."""
        return self._known.as_it_was(self._places.of(sha256)) or self.contains(sha256, size)

    def offer(self, sha256: str, size: int, path: Path) -> bool:
        """See `BlobStore.offer`. The file becomes a second name of the blob, if it can."""
        place = self._places.made(sha256)
        found = os.stat(path)
        if found.st_size != size:
            raise BlobMismatch(f"{path} has not the {size} bytes that were announced")
        # Both names are of one file, which is to be young before the sweep can see it.
        made_young(path, found)
        if not _link(path, place):
            if young(place, size) is not None:
                return False
            with open(path, "rb") as file:
                self.put(sha256, size, _chunks(file))
        return True

    def read(self, sha256: str, start: int, length: int) -> bytes:
        """See `BlobStore.read`."""
        with open(self._places.of(sha256), "rb") as file:
            file.seek(start)
            return file.read(length)

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        self._places.of(sha256).unlink(missing_ok=True)

    def expire(self, sha256: str, age: float) -> bool:
        """See `BlobStore.expire`."""
        place = self._places.of(sha256)
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime >= time.time() - age:
                return False
            place.unlink()
        return True

    def set_aside(
        self, sha256: str, size: int, alone: contextlib.AbstractContextManager[object]
    ) -> bool:
        """See `Quarantine.set_aside`. It becomes ``<root>/damaged/<sha256>``."""
        place = self._places.of(sha256)
        with contextlib.suppress(FileNotFoundError), open(place, "rb") as file:
            if matches(sha256, size, _chunks(file)):
                return False
            with alone:
                # While it was read, a save may have put the right bytes in its place.
                if not os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return False
                self._places.make(self._places.damaged)
                os.replace(place, self._places.damaged / sha256)
                return True
        return False

    def older_than(self, age: float) -> Iterator[str]:
        """See `BlobStore.older_than`."""
        limit = time.time() - age
        self.remove_interrupted(age)
        for path in self._files("[0-9a-f][0-9a-f]"):
            with contextlib.suppress(FileNotFoundError):
                if BLOB_NAME.fullmatch(path.name) and path.stat().st_mtime < limit:
                    yield path.name

    def remove_interrupted(self, age: float) -> None:
        """Remove what interrupted writes and uploads have left for ``age`` seconds."""
        limit = time.time() - age
        for path in self._files("incoming"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < limit and not _in_use(path):
                    path.unlink()
        self.uploads.remove_older(limit)

    def beginning_with(self, prefix: str) -> Iterator[str]:
        """The hashes of blobs that begin with these two digits."""
        return (path.name for path in self._files(prefix) if BLOB_NAME.fullmatch(path.name))

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

    def _files(self, pattern: str) -> Iterator[Path]:
        return (path for folder in self.root.glob(pattern) for path in folder.iterdir())


def _link(path: Path, place: Path) -> bool:
    """Give a file a second name at ``place``; False if that cannot be done here."""
    try:
        os.link(path, place)
    except FileNotFoundError:
        raise
    except OSError:
        # Something is in that place; or another file system, or one without links.
        return False
    return True


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


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _READ_BYTES), b"")
