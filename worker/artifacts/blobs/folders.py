"""Folders whose names survive a crash."""

from __future__ import annotations

import contextlib
from pathlib import Path

from api_client.contract.durability import sync_folder


class Folders:
    """Makes the folders at and below ``root``, and remembers which of them survive a crash.

    Parameters:
        root: the top one; its parents are made where they are missing.
    """

    def __init__(self, root: Path):
        self._root = root
        self._safe: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Make ``folder`` and its missing parents so that they survive a crash.

        Raises:
            OSError: that is not possible.
        """
        there = folder.is_dir()
        if there and (folder in self._safe or not folder.is_relative_to(self._root)):
            return
        self.make(folder.parent)
        if there:
            # Whoever made it may have been killed before this. A parent that may not be read was
            # not made here.
            with contextlib.suppress(PermissionError):
                sync_folder(folder.parent)
        else:
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        self._safe.add(folder)
