"""Walks a folder in the byte order of the names that its files are stored under."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest

from api_client.ingest.patterns import Selection

#: Names of one folder held in memory at a time. A folder with more is listed again for each part.
_PART = 100_000

#: Called with the name of what cannot be read, and the reason.
OnTrouble = Callable[[bytes, OSError], None]


@dataclass(frozen=True, slots=True)
class File:
    """A file to be stored.

    Attributes:
        name: relative to the folder, with ``/`` between its parts, as the file system has it.
        size: bytes.
        mtime: when it was last changed, in seconds since 1970.
    """

    name: bytes
    size: int
    mtime: float


@dataclass
class Skipped:
    """What was passed over.

    Attributes:
        links: symbolic links.
        special: pipes, sockets and devices.
        excluded: files and folders, by the patterns; what is in such a folder is not counted.
    """

    links: int = 0
    special: int = 0
    excluded: int = 0


class Walk:
    """The files of a folder and of those in it, hidden ones too.

    Names come in the order of their bytes, as the artifact index lists them. Only the names of the
    folders on the way to the present file are held in memory, and of each at most `_PART`.

    Parameters:
        root: the folder.
        selection: which files are meant; folders it does not enter are not looked into.
        follow_links: take a symbolic link for what it leads to; otherwise it is skipped. A link to
            a folder that it lies in is skipped always.
        on_trouble: told of files and folders that cannot be read; the walk goes on.

    Attributes:
        skipped: what was passed over so far.
    """

    def __init__(
        self, root: str, selection: Selection, *, follow_links: bool, on_trouble: OnTrouble
    ):
        self._root = os.path.join(os.fsencode(root), b"")
        self._selection = selection
        self._follow_links = follow_links
        self._on_trouble = on_trouble
        self.skipped = Skipped()

    def path(self, name: bytes) -> bytes:
        """Where the file of that name is."""
        return self._root + name

    def __iter__(self) -> Iterator[File]:
        folders = [_Folder(b"", self._identity(b""), self._sorted(b""))]
        while folders:
            folder = folders[-1]
            try:
                key = next(folder.keys, None)
            except OSError as error:
                self._on_trouble(folder.name, error)
                key = None
            if key is None:
                folders.pop()
            elif key.endswith(b"/"):
                folders += self._entered(folder.name + key, folders)
            else:
                yield from self._files(folder.name + key)

    def _sorted(self, folder: bytes) -> Iterator[bytes]:
        return in_order(lambda: self._keys(folder))

    def _keys(self, folder: bytes) -> Iterator[bytes]:
        """The names in a folder; with a slash at the end for folders, because that is how the
        names of the files in them compare."""
        with os.scandir(self._root + folder) as entries:
            for entry in entries:
                yield entry.name + b"/" if self._is_folder(entry) else entry.name

    def _is_folder(self, entry: os.DirEntry[bytes]) -> bool:
        try:
            return entry.is_dir(follow_symlinks=self._follow_links)
        except OSError:
            # Looking at it as a file will tell why.
            return False

    def _entered(self, name: bytes, within: list[_Folder]) -> list[_Folder]:
        if not self._selection.enters(name):
            self.skipped.excluded += 1
            return []
        try:
            identity = self._identity(name)
        except OSError as error:
            self._on_trouble(name, error)
            return []
        if identity is not None and any(folder.identity == identity for folder in within):
            self.skipped.links += 1
            return []
        return [_Folder(name, identity, self._sorted(name))]

    def _identity(self, folder: bytes) -> tuple[int, int] | None:
        """What tells a folder from all others, where a link may lead back to it."""
        if not self._follow_links:
            return None
        found = os.stat(self._root + folder)
        return found.st_dev, found.st_ino

    def _files(self, name: bytes) -> Iterator[File]:
        if not self._selection.takes(name):
            self.skipped.excluded += 1
            return
        try:
            found = os.stat(self._root + name, follow_symlinks=self._follow_links)
        except OSError as error:
            self._on_trouble(name, error)
            return
        if stat.S_ISREG(found.st_mode):
            yield File(name, found.st_size, found.st_mtime)
        elif stat.S_ISLNK(found.st_mode):
            self.skipped.links += 1
        else:
            self.skipped.special += 1


@dataclass(frozen=True)
class _Folder:
    """A folder on the way: its name (empty, or ending with a slash), what tells it from others,
    and what is left of it."""

    name: bytes
    identity: tuple[int, int] | None
    keys: Iterator[bytes]


def in_order(keys: Callable[[], Iterable[bytes]], part: int = _PART) -> Iterator[bytes]:
    """Keys that differ, sorted, holding at most ``part`` of them at a time.

    Parameters:
        keys: gives all of them, at each call.
    """
    smallest = nsmallest(part, keys())
    while smallest:
        yield from smallest
        if len(smallest) < part:
            return
        last = smallest[-1]
        smallest = nsmallest(part, (key for key in keys() if key > last))
