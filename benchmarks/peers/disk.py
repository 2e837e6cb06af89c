"""What the disk can do with files, durably."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path


def write_and_fsync(paths: Sequence[Path], folder: Path) -> None:
    """Copy files one after another, each fsynced; then the folder.

    Parameters:
        paths: what to copy.
        folder: where to; created.
    """
    folder.mkdir(parents=True)
    for path in paths:
        with (folder / path.name).open("wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
    _fsync_folder(folder)


def write_syncfs_rename(paths: Sequence[Path], folder: Path) -> None:
    """Copy all files under temporary names, sync the file system once, rename them, fsync the
    folder.

    Parameters: as of `write_and_fsync`.

    Raises:
        OSError: the sync has failed.
    """
    folder.mkdir(parents=True)
    for path in paths:
        (folder / f"{path.name}.new").write_bytes(path.read_bytes())
    _syncfs(folder)
    for path in paths:
        (folder / f"{path.name}.new").rename(folder / path.name)
    _fsync_folder(folder)


def _syncfs(folder: Path) -> None:
    """Sync the file system; where there is no such call, all of them."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if library.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
