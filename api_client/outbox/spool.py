"""Files beside the outbox with the bytes of saves too large for a message."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from api_client.contract.checks import check_size
from api_client.contract.limits import MAX_ARTIFACT_BYTES
from api_client.contract.operations import BlobReference
from api_client.transport.base import BlobFile


class Spool:
    """A folder of files, one per save, named by the operation's place in the outbox.

    Parameters:
        folder: where; None for a temporary folder that ends with the client.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._temporary = folder is None

    def write(self, entry_id: int, chunks: Iterable[bytes]) -> BlobFile:
        """Copy ``chunks`` into the file of ``entry_id`` in one pass, hashing on the way.

        When this returns, the file survives a crash (if the spool is not a temporary folder).

        Raises:
            TooLarge: there are more than `MAX_ARTIFACT_BYTES`.
            OSError: the source cannot be read, or the disk is full.
        """
        path = self._made() / str(entry_id)
        try:
            with open(path, "wb") as file:
                reference = _copy(chunks, file)
                file.flush()
                if not self._temporary:
                    os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not self._temporary:
            _sync_folder(path.parent)
        return BlobFile(path, reference)

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
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="zdk-spool-"))
        elif not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(OSError):
                _sync_folder(self._folder.parent)
        return self._folder


def _copy(chunks: Iterable[bytes], file: object) -> BlobReference:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        check_size(size, "data", MAX_ARTIFACT_BYTES)
        digest.update(chunk)
        file.write(chunk)  # type: ignore[attr-defined]
    return BlobReference(digest.hexdigest(), size)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
