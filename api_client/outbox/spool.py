"""Files beside the outbox with the bytes of saves too large for a message."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from api_client.contract.checks import check_size
from api_client.contract.durability import sync_folder
from api_client.contract.limits import MAX_ARTIFACT_BYTES, MIB
from api_client.contract.operations import BlobReference
from api_client.outbox.together import Then, Together
from api_client.transport.base import BlobFile

#: A file larger than this is synced by who has written it; the others need not wait for it.
_LARGE = 16 * MIB


class Spool:
    """A folder of files, one per save, named by the operation's place in the outbox.

    A file may become part of the blob store as it is, under a second name there. So it is never
    changed once it is written, has the permissions that the umask leaves, and survives a crash even
    in a temporary folder; the folder is closed to others.

    Parameters:
        folder: where; None for a temporary folder that ends with the client.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._temporary = folder is None
        self._making = threading.Lock()
        self._together: Together | None = None
        #: Descriptors of files that were written and not settled yet.
        self._written: dict[Path, int] = {}

    def write(self, entry_id: int, chunks: Iterable[bytes | memoryview]) -> BlobFile:
        """Copy ``chunks`` into the file of ``entry_id`` in one pass, hashing on the way.

        The file survives a crash once `settle` has told so.

        Raises:
            TooLarge: there are more than `MAX_ARTIFACT_BYTES`.
            OSError: the source cannot be read, or the disk is full.
        """
        path = self._made() / str(entry_id)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            reference = _copy(chunks, descriptor)
            if reference.size > _LARGE:
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._written[path] = descriptor
        return BlobFile(path, reference, shareable=True)

    def settle(self, blob: BlobFile, then: Then) -> None:
        """Call ``then`` when the file of a `write` survives a crash, or with an error, the file
        being removed, if that cannot be had.

        Files that are settled at about the same time share a sync, and ``then`` may be called in
        the thread of another of them.
        """
        descriptor = self._written.pop(blob.path, None)
        if descriptor is None or self._together is None:
            then(None)
            return

        def settled(error: OSError | None) -> None:
            if error is not None:
                self.remove([blob])
            then(error)

        self._together.add(descriptor, settled)

    def find(self, entry_id: int, reference: BlobReference) -> BlobFile:
        """The file written for ``entry_id`` before a restart."""
        return BlobFile(self._made() / str(entry_id), reference)

    def remove(self, blobs: Iterable[BlobFile]) -> None:
        """Remove files whose saves have been confirmed."""
        for blob in blobs:
            blob.path.unlink(missing_ok=True)

    def keep_only(self, wanted: Callable[[int], bool]) -> None:
        """Remove files that a killed client wrote without having accepted their saves.

        Parameters:
            wanted: whether the save with this place was accepted.
        """
        if self._folder is None or not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if not (path.name.isdecimal() and wanted(int(path.name))):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove a temporary folder."""
        if self._temporary:
            self.discard()

    def discard(self) -> None:
        """Remove the folder with whatever is in it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _made(self) -> Path:
        if self._folder is None or self._together is None or not self._folder.is_dir():
            with self._making:
                self._folder = self._make()
        return self._folder

    def _make(self) -> Path:
        folder = self._folder
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="zdk-spool-"))
        elif not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError):
                sync_folder(folder.parent)
        self._together = self._together or Together(folder)
        return folder


def _copy(chunks: Iterable[bytes | memoryview], descriptor: int) -> BlobReference:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        check_size(size, "data", MAX_ARTIFACT_BYTES)
        digest.update(chunk)
        _write(descriptor, chunk)
    return BlobReference(digest.hexdigest(), size)


def _write(descriptor: int, chunk: bytes | memoryview) -> None:
    written = os.write(descriptor, chunk)
    while written < len(chunk):
        written += os.write(descriptor, chunk[written:])
