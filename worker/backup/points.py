"""A point in time that was backed up: a folder with three files.

database.dump    by pg_dump, or a copy of the SQLite file
blobs.txt        hash and size of each blob that the dump refers to
manifest.json    written last: a point without it was never finished
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.operations import BlobReference

#: The format of the folder; a reader refuses a later one.
FORMAT = 1
#: The file that makes it count.
MANIFEST = "manifest.json"
#: How points are named: by the time in UTC.
NAME = "%Y%m%dT%H%M%S.%fZ"


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
        draft = self.folder / f"{MANIFEST}.draft"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        _sync(draft)
        draft.rename(self.folder / MANIFEST)
        _sync(self.folder)
        _sync(self.folder.parent)

    def forget(self) -> None:
        """Make the point one that does not count, for good."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
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
            data = (self.folder / MANIFEST).read_bytes()
            found = msgspec.json.decode(data, type=Manifest)
        except FileNotFoundError:
            raise InvalidRequest(
                f"{self.folder} holds no finished backup; zdk restore FOLDER --list names those "
                "that do",
                field="point",
            ) from None
        except msgspec.MsgspecError as error:
            raise Unavailable(
                f"{self.folder / MANIFEST} is damaged: {error}; take another point", field="point"
            ) from error
        if found.format > FORMAT:
            raise InvalidRequest(
                f"{self.folder} has format {found.format}, this release reads {FORMAT}; use the "
                f"release that has made it, {found.release}",
                field="point",
            )
        return found


def moment_of(name: str) -> datetime | None:
    """When a point of that name was begun; None, if the name is not that of a point."""
    try:
        return datetime.strptime(name, NAME).replace(tzinfo=timezone.utc)
    except ValueError:
        return None


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
