"""Reads the blobs that the index refers to, and tells which versions have lost their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import msgspec

from api_client.contract.limits import MIB
from api_client.contract.operations import BlobReference
from worker.artifacts.blobs.base import BlobStore, Quarantine
from worker.artifacts.index import lock_blob
from worker.artifacts.references import Scope, blobs_of, versions_of
from worker.database import Database

_READ_BYTES = 4 * MIB

#: What can be wrong with a blob: it is not there, has another size, has other bytes, or the store
#: fails to read it.
Problem = Literal["missing", "size", "hash", "unreadable"]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a blob. ``detail`` is for people."""

    problem: Problem
    detail: str


class Damage(msgspec.Struct, kw_only=True, frozen=True):
    """A version whose bytes are not those that were saved.

    Attributes:
        app, user, session, name, version: which; no session for a user's own artifact.
        size, sha256: what its bytes should be.
        problem, detail: what is wrong with them, for programs and for people.
        quarantined: whether the blob was moved aside just now.
    """

    app: str
    user: str
    session: str | None
    name: str
    version: int
    size: int
    sha256: str
    problem: Problem
    detail: str
    quarantined: bool


@dataclass
class Tally:
    """Attributes: blobs examined and the bytes they should have, how many of the blobs are wrong,
    and how many were moved aside."""

    blobs: int = 0
    bytes: int = 0
    wrong: int = 0
    quarantined: int = 0


def examine(
    store: BlobStore, blob: BlobReference, on_bytes: Callable[[int], None] = lambda count: None
) -> Fault | None:
    """Read a blob and compare it with its hash and size; None if it is as it should be.

    Parameters:
        on_bytes: told how many bytes were read, as they are.
    """
    digest, count = hashlib.sha256(), 0
    try:
        while count <= blob.size:
            chunk = store.read(blob.sha256, count, _READ_BYTES)
            if not chunk:
                break
            digest.update(chunk)
            count += len(chunk)
            on_bytes(len(chunk))
    except FileNotFoundError:
        return Fault("missing", "not in the blob store")
    except OSError as error:
        return Fault("unreadable", error.strerror or str(error))
    if count != blob.size:
        found = "more" if count > blob.size else f"only {count}"
        return Fault("size", f"{found} bytes, not {blob.size}")
    if digest.hexdigest() != blob.sha256:
        return Fault("hash", "the bytes have another hash")
    return None


class Verification:
    """One pass over the blobs that versions refer to, in bounded memory. Safe while workers run.

    Parameters:
        database, store: index and bytes.
        scope: whose artifacts.
        quarantine: where given, what moves blobs of wrong size or hash aside: the same store.

    Attributes:
        tally: what has been seen so far.
    """

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        scope: Scope | None = None,
        quarantine: Quarantine | None = None,
    ):
        self._database = database
        self._store = store
        self._scope = scope or Scope()
        self._quarantine = quarantine
        self.tally = Tally()

    def run(self, on_bytes: Callable[[int], None] = lambda count: None) -> Iterator[Damage]:
        """Read each blob once, and yield the versions that refer to one that is wrong.

        Parameters:
            on_bytes: told how many bytes were read, as they are.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is down.
            OSError: a blob cannot be moved aside.
        """
        for blob in blobs_of(self._database, self._scope):
            fault = examine(self._store, blob, on_bytes)
            self.tally.blobs += 1
            self.tally.bytes += blob.size
            # Read again: meanwhile a save may have mended it, or the sweep have removed it after
            # its last version.
            if fault is not None and (fault := examine(self._store, blob)) is not None:
                yield from self._damage(blob, fault)

    def _damage(self, blob: BlobReference, fault: Fault) -> Iterator[Damage]:
        versions = versions_of(self._database, self._scope, blob.sha256)
        first = next(versions, None)
        if first is None:
            return
        moved = self._set_aside(blob, fault)
        self.tally.wrong += 1
        self.tally.quarantined += moved
        for row in chain([first], versions):
            yield Damage(
                app=row.app,
                user=row.user_id,
                session=row.session_id or None,
                name=row.name,
                version=row.version,
                size=row.size,
                sha256=blob.sha256,
                problem=fault.problem,
                detail=fault.detail,
                quarantined=moved,
            )

    def _set_aside(self, blob: BlobReference, fault: Fault) -> bool:
        # What cannot be read may be whole: a disk or a network may only be in trouble.
        if self._quarantine is None or fault.problem not in ("size", "hash"):
            return False
        return self._quarantine.set_aside(blob.sha256, blob.size, self._alone(blob.sha256))

    @contextmanager
    def _alone(self, sha256: str) -> Iterator[None]:
        with self._database.write.begin() as connection:
            lock_blob(connection, sha256)
            yield
