"""Files and folders that survive a crash, made so one by one or many together.

Both sides need it: the client for bytes that it has accepted, the worker for those it refers to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

#: From so many files on, they are written together. That also writes what others have changed on
#: the file system, so a few files do without.
_MANY = 4


def sync_all(descriptors: Sequence[int]) -> None:
    """Make open files or folders of one file system survive a crash: by fsync, or, where that is
    as good, many of them by one syncfs.

    Parameters:
        descriptors: of files, those by which they were written.

    Raises:
        OSError: one of them cannot be written. None of them may be relied upon, and their
            descriptors must not be synced again: the system tells an error only once.
    """
    if len(descriptors) >= _MANY:
        # Imported late: a client that saves no files needs no ctypes.
        from api_client.contract import syncfs

        if syncfs.is_enough(descriptors[0]):
            syncfs.sync(descriptors)
            return
    for descriptor in descriptors:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash. Raises OSError if that is not possible."""
    sync_folders([folder])


def sync_folders(folders: Sequence[Path]) -> None:
    """Make the names in folders of one file system survive a crash.

    Raises:
        OSError: that is not possible.
    """
    descriptors: list[int] = []
    try:
        for folder in folders:
            descriptors.append(os.open(folder, os.O_RDONLY))
        sync_all(descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
