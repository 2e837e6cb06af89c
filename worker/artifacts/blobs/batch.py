"""Blobs that become files together: written, synced at once, renamed, their folders synced."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from api_client.contract.durability import sync_all, sync_folders
from worker.artifacts.blobs.base import checked
from worker.artifacts.blobs.known import Known
from worker.artifacts.blobs.places import Places

#: Files that are open at a time.
_OPEN_FILES = 100
#: Seconds for which a blob counts as just touched, so that it need not be touched once more.
_YOUNG = 10.0


@dataclass(frozen=True)
class _Written:
    """A blob in a temporary file, which is open."""

    descriptor: int
    temporary: Path
    place: Path


class FileBatch:
    """A `Batch` of a `FilesystemBlobStore`. `end` or `abandon` it.

    Parameters:
        places: where blobs go.
        known: blobs whose names are known to survive a crash.
    """

    def __init__(self, places: Places, known: Known):
        self._places = places
        self._known = known
        self._written: dict[Path, _Written] = {}
        #: Blobs, and how they were found, by the folder that has to be synced for their names.
        self._named: dict[Path, dict[Path, os.stat_result | None]] = {}

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """See `Batch.put`."""
        place = self._places.made(sha256)
        if place in self._written:
            return
        if len(self._written) == _OPEN_FILES:
            self._rename()
        temporary = self._places.temporary()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._written[place] = _Written(descriptor, temporary, place)
        try:
            _mark_in_use(descriptor)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                for chunk in checked(sha256, size, chunks):
                    file.write(chunk)
        except BaseException:
            self._drop(self._written.pop(place))
            raise

    def contains(self, sha256: str, size: int) -> bool:
        """See `Batch.contains`."""
        place = self._places.of(sha256)
        if place in self._written:
            return True
        known = self._known.as_it_was(place)
        found = young(place, size)
        if found is None:
            return False
        if known:
            self._known.add(place, found)
        else:
            # Whoever named it may have been killed before it synced the folder, or be about to.
            self._named.setdefault(place.parent, {})[place] = found
        return True

    def end(self) -> None:
        """Make it so. Raises OSError if that fails."""
        self._rename()
        sync_folders([*self._named])
        for places in self._named.values():
            for place, found in places.items():
                self._known.add(place, found)

    def abandon(self) -> None:
        """Remove what has no name yet."""
        for written in self._written.values():
            self._drop(written)
        self._written.clear()

    def _rename(self) -> None:
        # After a failed fsync a descriptor's state is unknown; a new try writes a new file.
        sync_all([written.descriptor for written in self._written.values()])
        for written in self._written.values():
            os.replace(written.temporary, written.place)
            self._named.setdefault(written.place.parent, {})[written.place] = None
        for written in self._written.values():
            os.close(written.descriptor)
        self._written.clear()

    def _drop(self, written: _Written) -> None:
        os.close(written.descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(written.temporary)


def young(place: Path, size: int) -> os.stat_result | None:
    """The status of a blob of that size, which now is as if it were just put; None if there is
    none."""
    try:
        found = os.stat(place)
        if found.st_size != size:
            return None
        return made_young(place, found)
    except (FileNotFoundError, PermissionError):
        # A blob of another user's that may not be touched cannot be kept from the sweep; the same
        # bytes put anew can.
        return None


def made_young(path: Path, found: os.stat_result) -> os.stat_result:
    """Touch a file unless somebody has just done so.

    Parameters:
        found: its status.

    Returns its status now. Raises OSError if it is gone or may not be touched.
    """
    if abs(time.time() - found.st_mtime) < _YOUNG:
        return found
    os.utime(path)
    return os.stat(path)


def _mark_in_use(descriptor: int) -> None:
    """Keep the sweep from a temporary file, however slowly it is written, until it is closed."""
    # A file system without locks has the grace period only.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
