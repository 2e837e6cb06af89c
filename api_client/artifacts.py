"""The client's methods for artifacts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from typing import IO, Any

import msgspec

from api_client.contract import codec
from api_client.contract.checks import check_count, check_page, check_text, encode_json
from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.keys import (
    ArtifactKey,
    SessionKey,
    check_artifact_key,
    check_session_key,
)
from api_client.contract.limits import (
    MAX_ARTIFACT_BYTES,
    MAX_METADATA_BYTES,
    MAX_MIME_TYPE_BYTES,
    MIB,
)
from api_client.contract.operations import (
    DeleteArtifact,
    ListArtifacts,
    ListVersions,
    LoadArtifact,
    SaveArtifact,
)
from api_client.contract.ordering import artifact_ordering, session_ordering, user_ordering
from api_client.contract.outcomes import ArtifactDeleted, ArtifactSaved
from api_client.contract.records import Artifact, ArtifactVersion, Page
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.requests import Requests, on
from api_client.sources import ArtifactSource, Data, open_source
from api_client.transport.base import BlobFile
from api_client.waiting import Waiting

#: An artifact of more bytes is loaded in ranges of at most so many after the first: a reply is in
#: memory several times while it is decoded. Of smaller ones the worker checks all for each range.
_LARGE_BYTES = 16 * MIB
_RANGE_BYTES = 2 * MIB


class Artifacts:
    """Save, load, list, versions, delete. Reached as ``client.artifacts``.

    Every method checks its arguments at once and returns a `Receipt`. All of them raise
    `InvalidRequest` (or `TooLarge`) that names the field and the limit; those that write raise
    `OutboxFull` when there is no room, and `Unavailable` when the client is closed.
    """

    def __init__(self, requests: Requests, inline_bytes: int):
        """Parameters: see `inline_bytes`."""
        self._requests = requests
        self._inline_bytes = inline_bytes
        self._waiting = Waiting()

    @property
    def inline_bytes(self) -> int:
        """Up to so many bytes of an artifact ride inside the message, in memory until it is
        applied; more are on disk beside the outbox."""
        return self._inline_bytes

    def save(
        self,
        key: ArtifactKey,
        data: Data,
        *,
        mime_type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt[int]:
        """Store the next version of an artifact; the receipt's result is its number, from 1.

        Parameters:
            data: bytes, text, a `pathlib.Path`, or a file open for reading bytes; at most
                `MAX_ARTIFACT_BYTES`. A str is text, not a path. Files are streamed.
            mime_type: kept as given; if None, guessed from the name and the first bytes.
            metadata: a JSON object of the caller's, at most `MAX_METADATA_BYTES`.

        Whoever saves faster than the disk can follow is held up, by at most 0.1 s a call.
        """
        check_artifact_key(key)
        if mime_type is not None:
            check_text(mime_type, "mime_type", MAX_MIME_TYPE_BYTES)
        encoded = _encode_metadata(metadata or {})
        source = open_source(data)
        kind = mime_type or source.mime_type(key.name)
        if source.fits(self._inline_bytes):
            operation = SaveArtifact(key=key, mime_type=kind, data=source.data, metadata=encoded)
            return self._requests.write(operation, _version)
        prepare = partial(self._spool, source, key, kind, encoded)
        self._waiting.enter(source.held)
        try:
            keys = frozenset({artifact_ordering(key)})
            return self._requests.write_spooled(prepare, keys, _version)
        except BaseException:
            self._let_go(source)
            raise

    def load(
        self,
        key: ArtifactKey,
        *,
        version: int | None = None,
        start: int = 0,
        length: int | None = None,
        into: os.PathLike[str] | IO[bytes] | None = None,
    ) -> Receipt[Artifact]:
        """Load a version, or a range of its bytes.

        Whole loads are checked against the hash, and so are ranges of versions of at most 16 MiB.
        A range of a larger one is not: load it whole where that matters.

        This client's own earlier writes on the artifact's session (or user) are waited for.

        Parameters:
            version: from 1; the latest if None.
            start, length: the range in bytes; ``length`` None means to the end.
            into: a path or a file open for writing, for artifacts too large for memory; the
                result's ``data`` is then empty. A path is written only as far as bytes come.

        The receipt fails with `NotFound` if there is no such version, and with `Unavailable` if its
        bytes are damaged or missing; ``zdk artifacts verify`` tells the operator which are.
        """
        check_artifact_key(key)
        if version is not None:
            check_count(version, "version", least=1)
        check_count(start, "start", most=MAX_ARTIFACT_BYTES)
        if length is not None:
            check_count(length, "length", most=MAX_ARTIFACT_BYTES)
        query = LoadArtifact(key=key, version=version, start=start, length=length)
        assembly = _Assembly(query, into)
        after = on(artifact_ordering(key))
        receipt = self._requests.read_on(query, after, Artifact, assembly.add, assembly.artifact)
        receipt.when_done(lambda _: assembly.close())
        return receipt

    def list(
        self, key: SessionKey, *, limit: int = 1000, cursor: str | None = None
    ) -> Receipt[Page[ArtifactVersion]]:
        """List a session's artifacts and its user's, each by its latest version, by name.

        Parameters:
            limit: at most this many, from 1 to `MAX_PAGE_SIZE`.
            cursor: the ``next_cursor`` of the page before.
        """
        check_session_key(key)
        check_page(limit, cursor)
        after = on(session_ordering(key), user_ordering(key.app, key.user))
        query = ListArtifacts(key=key, limit=limit, cursor=cursor)
        return self._requests.read(query, after, _page)

    def versions(
        self, key: ArtifactKey, *, limit: int = 1000, cursor: str | None = None
    ) -> Receipt[Page[ArtifactVersion]]:
        """List the versions of an artifact, oldest first, with their metadata.

        Parameters: as of `list`. The receipt fails with `NotFound` if there are none.
        """
        check_artifact_key(key)
        check_page(limit, cursor)
        query = ListVersions(key=key, limit=limit, cursor=cursor)
        return self._requests.read(query, on(artifact_ordering(key)), _page)

    def delete(self, key: ArtifactKey, *, version: int | None = None) -> Receipt[ArtifactDeleted]:
        """Delete one version, or all if ``version`` is None. Numbers are not used again.

        The receipt fails with `NotFound` if there is nothing to delete.
        """
        check_artifact_key(key)
        if version is not None:
            check_count(version, "version", least=1)
        operation = DeleteArtifact(key=key, version=version)
        return self._requests.write(operation, partial(codec.decode, kind=ArtifactDeleted))

    def _spool(
        self,
        source: ArtifactSource,
        key: ArtifactKey,
        mime_type: str,
        metadata: dict[str, msgspec.Raw],
        entry_id: int,
        spool: Spool,
    ) -> tuple[bytes, BlobFile]:
        """Copy the bytes beside the outbox, and make the operation that refers to them."""
        try:
            blob = spool.write(entry_id, source.chunks())
        finally:
            self._let_go(source)
        operation = SaveArtifact(
            key=key, mime_type=mime_type, blob=blob.reference, metadata=metadata
        )
        return codec.encode_operation(operation), blob

    def _let_go(self, source: ArtifactSource) -> None:
        source.close()
        self._waiting.leave(source.held)


class _Assembly:
    """Puts an artifact's bytes together from one or more replies."""

    def __init__(self, query: LoadArtifact, into: os.PathLike[str] | IO[bytes] | None):
        self._query = query
        self._into = into
        self._file: Any = None if isinstance(into, os.PathLike) else into
        self._parts: list[bytes] = []
        self._digest = hashlib.sha256()
        self._count = 0
        self._last: Artifact | None = None

    def add(self, reply: Artifact) -> LoadArtifact | None:
        """Take a reply; return the query for the bytes after it, if any are missing."""
        self._digest.update(reply.data)
        self._count += len(reply.data)
        if self._into is None:
            self._parts.append(reply.data)
        else:
            self._open().write(reply.data)
        self._last = reply
        end = reply.size
        if self._query.length is not None:
            end = min(end, self._query.start + self._query.length)
        position = self._query.start + self._count
        if position >= end:
            return None
        if not reply.data:
            raise Unavailable("the blob store has fewer bytes than the index says")
        most = _RANGE_BYTES if reply.size > _LARGE_BYTES else MAX_ARTIFACT_BYTES
        return msgspec.structs.replace(
            self._query, version=reply.version, start=position, length=min(end - position, most)
        )

    def artifact(self) -> Artifact:
        """The whole. Raises `Unavailable` if its bytes are not those that were saved."""
        assert self._last is not None
        if self._file is not None:
            # Before the receipt resolves: who waits for it will read the file.
            self._file.flush()
        self.close()
        whole = self._count == self._last.size
        if whole and self._digest.hexdigest() != self._last.sha256:
            raise Unavailable(
                f"the bytes of {self._last.name!r} version {self._last.version} do not match "
                "their hash: the blob store is damaged; zdk artifacts verify finds all that are, "
                "and a backup restores them"
            )
        return msgspec.structs.replace(self._last, data=b"".join(self._parts))

    def close(self) -> None:
        """Close a file that was opened here."""
        if self._file is not None and self._file is not self._into:
            self._file.close()
            self._file = None

    def _open(self) -> Any:
        # Only now, so that an artifact that is not there leaves the file alone.
        if self._file is None and isinstance(self._into, os.PathLike):
            self._file = open(self._into, "wb")  # noqa: SIM115 - closed by `close`
        return self._file


def _encode_metadata(metadata: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    if not isinstance(metadata, Mapping):
        raise InvalidRequest(
            f"metadata must be a dict, not {type(metadata).__name__}", field="metadata"
        )
    raw = encode_json(dict(metadata), "metadata", MAX_METADATA_BYTES)
    return codec.decode(raw, dict[str, msgspec.Raw])


def _version(raw: msgspec.Raw) -> int:
    return codec.decode(raw, ArtifactSaved).version


def _page(raw: msgspec.Raw) -> Page[ArtifactVersion]:
    return codec.decode(raw, Page[ArtifactVersion])
