"""Files to store, whose contents are new in each round, so that nothing is stored already."""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK = 1 << 20


class Files:
    """A folder of files with random contents.

    Parameters:
        folder: created.
        count: how many.
        size: bytes of each.
    """

    def __init__(self, folder: Path, count: int, size: int):
        folder.mkdir(parents=True)
        self.folder = folder
        self.size = size
        self.paths = [folder / f"{number:06d}.bin" for number in range(count)]
        for path in self.paths:
            _write(path, size)

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return len(self.paths) * self.size

    def renew(self) -> None:
        """Change every file, and wait until the disk has nothing left to write."""
        for path in self.paths:
            with path.open("r+b") as file:
                file.write(os.urandom(32))
        os.sync()


def _write(path: Path, size: int) -> None:
    """Random blocks, each different from the others in a large file as well."""
    block = os.urandom(min(size, _BLOCK))
    with path.open("wb") as file:
        for begin in range(0, size, _BLOCK):
            file.write((begin.to_bytes(8) + block[8:])[: size - begin])
