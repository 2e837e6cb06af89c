"""The folder of backups: points in time, which share their blobs.

FOLDER/lock                      see `Backups.shared`
FOLDER/blobs/                    as in `worker.artifacts.blobs.filesystem`
FOLDER/20261123T091500.000000Z/  a point; names are in the order in which points were begun
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from api_client.contract.errors import NotFound, Unavailable
from api_client.contract.operations import BlobReference
from worker.artifacts.blobs import FilesystemBlobStore
from worker.backup.points import MANIFEST, NAME, Point, moment_of

_NEVER = datetime.min.replace(tzinfo=timezone.utc)


class Backups:
    """A folder of backups.

    Parameters:
        folder: made with the first of them.

    Attributes:
        blobs: the bytes of all of them.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.blobs = FilesystemBlobStore(self.folder / "blobs")
        self._lock = self.folder / "lock"

    @contextmanager
    def begin(self) -> Iterator[Point]:
        """A new point. It is removed if it is not finished, so that what fails every night for want
        of room does not take more of it each time.

        Raises:
            Unavailable: as `shared` does.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.shared():
            point = self._made()
            try:
                yield point
            except BaseException:
                shutil.rmtree(point.folder, ignore_errors=True)
                raise

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let nothing be dropped meanwhile.

        Raises:
            Unavailable: something is being dropped.
        """
        with contextlib.suppress(OSError):
            self._lock.touch(mode=0o600)
        try:
            file = self._lock.open("rb")
        except FileNotFoundError:
            # The folder is one that can only be read here, and nothing was ever dropped from it.
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable(
                    f"old points of {self.folder} are being dropped; try again when that is done",
                    field="folder",
                ) from error
            except OSError:
                # A file system without locks; there, nothing can be dropped either.
                pass
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Tells whether nobody makes or restores a backup, which nobody can meanwhile.

        Raises:
            OSError: the folder cannot be written, or its file system has no locks.
        """
        with self._lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _made(self) -> Point:
        while True:
            name = f"{self._next_moment():{NAME}}"
            try:
                (self.folder / name).mkdir(mode=0o700)
            except FileExistsError:
                continue
            return Point(self.folder / name)

    def _next_moment(self) -> datetime:
        """Now, or just after the newest point. A clock that was wrong would otherwise give names
        that stay the newest, so that later points were dropped first, and restored last."""
        moments = (moment_of(path.name) for path in self.folder.iterdir())
        newest = max((found for found in moments if found), default=_NEVER)
        return max(datetime.now(timezone.utc), newest + timedelta(microseconds=1))

    def holds(self, blob: BlobReference) -> bool:
        """Whether a blob is there. Its bytes were compared with its hash when it came."""
        return self.blobs.contains(blob.sha256, blob.size)

    def points(self) -> list[Point]:
        """Those that are finished, oldest first; before them those that somebody has renamed."""
        found = [path.parent for path in self.folder.glob(f"*/{MANIFEST}")]
        return [Point(each) for each in sorted(found, key=lambda each: _order(each.name))]

    def point(self, name: str | None) -> Point:
        """The point of that name, or the latest.

        Raises:
            NotFound: there is none.
        """
        found = [point for point in self.points() if name in (None, point.name)]
        if not found:
            raise NotFound(
                f"{self.folder} holds no finished backup"
                + (f" {name}; zdk restore FOLDER --list names those there are" if name else ""),
                field="point" if name else "folder",
            )
        return found[-1]


def _order(name: str) -> tuple[datetime, str]:
    return moment_of(name) or _NEVER, name
