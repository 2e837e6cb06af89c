"""The folder of backups: points in time, which share their blobs.

FOLDER/lock                      see `Backups.shared`
FOLDER/blobs/                    as in `worker.artifacts.blobs.filesystem`
FOLDER/20261123T091500.000000Z/  a point; names are in the order in which points were begun
    database.dump                by pg_dump, or a copy of the SQLite file
    blobs.txt                    hash and size of each blob that the dump refers to
    manifest.json                written last: a point without it was never finished
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from api_client.contract.errors import InvalidRequest, NotFound, Unavailable
from api_client.contract.operations import BlobReference
from worker.artifacts.blobs import FilesystemBlobStore

#: The format of the folder; a reader refuses a later one.
FORMAT = 1
_MANIFEST = "manifest.json"
#: How points are named: by the time in UTC.
_NAME = "%Y%m%dT%H%M%S.%fZ"
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


class Manifest(msgspec.Struct, kw_only=True, frozen=True):
    """What a point holds.

    Attributes:
        format: of the folder.
        made_at: when the database's snapshot was taken.
        release: of zdk-storage, that has made it.
        database, server: ``postgresql`` and its major version, or ``sqlite`` and 0.
        revision: of the schema.
        dump_size, dump_sha256: of the dump.
        rows: how many each table has.
        blobs, bytes: how many blobs the dump refers to, and their bytes.
        missing: the hashes of blobs that were missing or damaged where they came from.
        list_sha256: of the list of blobs; empty if an earlier release has made it.
    """

    format: int
    made_at: datetime
    release: str
    database: str
    server: int
    revision: str
    dump_size: int
    dump_sha256: str
    rows: dict[str, int]
    blobs: int
    bytes: int
    missing: list[str]
    list_sha256: str = ""


@dataclass(frozen=True)
class Point:
    """One point, finished or not. Attributes: its folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The time of its beginning, in UTC."""
        return self.folder.name

    @property
    def dump(self) -> Path:
        """The database's dump."""
        return self.folder / "database.dump"

    @property
    def list(self) -> Path:
        """The list of blobs."""
        return self.folder / "blobs.txt"

    def blobs(self) -> Iterator[BlobReference]:
        """The blobs that the dump refers to.

        Raises:
            ValueError: the list is damaged.
        """
        with self.list.open() as lines:
            for line in lines:
                sha256, size = line.split()
                yield BlobReference(sha256, int(size))

    def finish(self, manifest: Manifest) -> None:
        """Make the point one that can be restored, and survives a crash."""
        for path in (self.dump, self.list):
            _sync(path)
        draft = self.folder / f"{_MANIFEST}.draft"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        _sync(draft)
        draft.rename(self.folder / _MANIFEST)
        _sync(self.folder)
        _sync(self.folder.parent)

    def forget(self) -> None:
        """Make the point one that does not count, for good."""
        (self.folder / _MANIFEST).unlink(missing_ok=True)
        _sync(self.folder)

    def has_whole_list(self, manifest: Manifest) -> bool:
        """Whether the list of blobs is as it was. Without this, rows would come back whose bytes
        nobody misses until they are read."""
        try:
            sizes = [blob.size for blob in self.blobs()]
        except (ValueError, FileNotFoundError):
            return False
        same = manifest.list_sha256 in ("", sha256_of(self.list))
        return same and (len(sizes), sum(sizes)) == (manifest.blobs, manifest.bytes)

    def manifest(self) -> Manifest:
        """What it holds.

        Raises:
            InvalidRequest: it was never finished, or a later release has made it.
            Unavailable: it is damaged.
        """
        try:
            data = (self.folder / _MANIFEST).read_bytes()
            found = msgspec.json.decode(data, type=Manifest)
        except FileNotFoundError:
            raise InvalidRequest(
                f"{self.folder} holds no finished backup; zdk restore FOLDER --list names those "
                "that do",
                field="point",
            ) from None
        except msgspec.MsgspecError as error:
            raise Unavailable(
                f"{self.folder / _MANIFEST} is damaged: {error}; take another point", field="point"
            ) from error
        if found.format > FORMAT:
            raise InvalidRequest(
                f"{self.folder} has format {found.format}, this release reads {FORMAT}; use the "
                f"release that has made it, {found.release}",
                field="point",
            )
        return found


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
            name = f"{self._next_moment():{_NAME}}"
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
        found = [path.parent for path in self.folder.glob(f"*/{_MANIFEST}")]
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


def moment_of(name: str) -> datetime | None:
    """When a point of that name was begun; None, if the name is not that of a point."""
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _order(name: str) -> tuple[datetime, str]:
    return moment_of(name) or _NEVER, name


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
