"""Folders whose names survive a crash."""

from __future__ import annotations

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
        parent = folder.parent
        self.make(parent)
        if not there:
            folder.mkdir(exist_ok=True)
        try:
            # Whoever made those that are there may have been killed before this. They share the
            # sync: there are 256 for blobs, and a process that has just begun knows none of them.
            beside = [*parent.iterdir()] if parent.is_relative_to(self._root) else []
            sync_folder(parent)
        except PermissionError:
            # A parent that may not be read was not made here.
            if not there:
                raise
            beside = []
        self._safe.update(beside)
        self._safe.add(folder)
