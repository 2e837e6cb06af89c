"""Reading artifacts: the index from one snapshot, the bytes from the blob store."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, exists, func, select, union_all

from api_client.contract.checks import check_count, check_text
from api_client.contract.errors import InvalidRequest, NotFound, Unavailable
from api_client.contract.keys import ArtifactKey
from api_client.contract.limits import (
    MAX_ARTIFACT_BYTES,
    MAX_NAME_BYTES,
    MAX_PAGE_SIZE,
    MAX_REPLY_BYTES,
    MIB,
)
from api_client.contract.operations import ListArtifacts, ListVersions, LoadArtifact
from worker.artifacts.blobs.base import BlobStore
from worker.artifacts.evaluate import ArtifactPlace
from worker.schema import artifact_versions, artifacts

#: Bytes of a blob that is read whole and checked even if only a part of it is asked for.
CHECKED_BYTES = 16 * MIB

_COLUMNS = (
    artifacts.c.name,
    artifact_versions.c.version,
    artifact_versions.c.mime_type,
    artifact_versions.c.size,
    artifact_versions.c.sha256,
    artifact_versions.c.metadata,
    artifact_versions.c.created_at,
)


class VersionReply(msgspec.Struct, kw_only=True):
    """An `ArtifactVersion` as the worker writes it, its metadata unparsed."""

    name: str
    version: int
    mime_type: str
    size: int
    sha256: str
    metadata: msgspec.Raw
    created_at: datetime


class ArtifactReply(VersionReply, kw_only=True):
    """An `Artifact` likewise, with the bytes asked for, as many as fit in a reply."""

    data: bytes


class VersionPage(msgspec.Struct, frozen=True):
    """A page of versions."""

    items: list[VersionReply]
    next_cursor: str | None


def find_version(connection: Connection, query: LoadArtifact) -> VersionReply:
    """The version that ``query`` asks for; the latest if it names none.

    Raises:
        NotFound: there is no such artifact or version for this app, user and session.
        InvalidRequest: version, start or length is out of range.
    """
    if query.version is not None:
        check_count(query.version, "version", least=1)
    check_count(query.start, "start")
    if query.length is not None:
        check_count(query.length, "length", most=MAX_ARTIFACT_BYTES)
    statement = _versions_of(query.key)
    if query.version is not None:
        statement = statement.where(artifact_versions.c.version == query.version)
    row = connection.execute(
        statement.order_by(artifact_versions.c.version.desc()).limit(1)
    ).one_or_none()
    if row is None:
        raise _not_found(query.key, query.version)
    return _reply(row)


def load(blobs: BlobStore, found: VersionReply, query: LoadArtifact) -> ArtifactReply:
    """The reply to ``query``: the version's metadata and at most `MAX_REPLY_BYTES` of its bytes.

    Of versions of at most `CHECKED_BYTES`, whole or in part, the bytes are those that were saved.
    A part of a larger one is not checked, because that would mean reading all of it; the client
    checks a larger one that it loads whole.

    Raises:
        Unavailable: the blob store does not have the bytes, or has others.
    """
    left = max(0, found.size - query.start)
    length = min(MAX_REPLY_BYTES, left if query.length is None else min(left, query.length))
    try:
        data = _read(blobs, found, query.start, length) if length else b""
    except FileNotFoundError:
        raise Unavailable(
            f"the bytes of {found.name!r} version {found.version} are missing from the blob store; "
            "check that this worker's ZDK_ARTIFACTS_URL is the one they were saved to; "
            "zdk artifacts verify finds all that are missing"
        ) from None
    return ArtifactReply(data=data, **msgspec.structs.asdict(found))


def _read(blobs: BlobStore, found: VersionReply, start: int, length: int) -> bytes:
    if found.size > CHECKED_BYTES:
        return blobs.read(found.sha256, start, length)
    whole = blobs.read(found.sha256, 0, found.size)
    if hashlib.sha256(whole).hexdigest() != found.sha256:
        raise Unavailable(
            f"the bytes of {found.name!r} version {found.version} do not match their hash: "
            "the blob store is damaged; zdk artifacts verify finds all that are, and a save of "
            "the same bytes, or a backup, restores them"
        )
    return whole[start : start + length]


def list_artifacts(connection: Connection, query: ListArtifacts) -> VersionPage:
    """One page of a session's and its user's artifacts, each by its latest version, by name.

    Raises:
        InvalidRequest: the limit or the cursor breaks the contract.
    """
    check_count(query.limit, "limit", least=1, most=MAX_PAGE_SIZE)
    # One index range each for the session and the user, and only then the versions: asked for both
    # at once, or for the versions in a join, the database would look at all names that follow.
    named = union_all(
        *(_names(query, session).subquery().select() for session in (query.key.session, ""))
    ).subquery()
    page = select(named).order_by(named.c.name).limit(query.limit + 1).subquery()
    ordered = (
        select(*_COLUMNS)
        .join(artifacts, artifacts.c.pk == artifact_versions.c.artifact_pk)
        .join(
            page,
            (page.c.pk == artifact_versions.c.artifact_pk)
            & (page.c.latest == artifact_versions.c.version),
        )
        .order_by(page.c.name)
    )
    return _page(connection, ordered, query.limit, lambda last: last.name)


def _names(query: ListArtifacts, session: str) -> Select[Any]:
    """The artifacts of one page that belong to ``session`` and have versions, with the latest."""
    versions = artifact_versions.alias()
    latest = (
        select(func.max(versions.c.version))
        .where(versions.c.artifact_pk == artifacts.c.pk)
        .correlate(artifacts)
        .scalar_subquery()
    )
    statement = select(artifacts.c.pk, artifacts.c.name, latest.label("latest")).where(
        artifacts.c.app == query.key.app,
        artifacts.c.user_id == query.key.user,
        artifacts.c.session_id == session,
        exists().where(artifact_versions.c.artifact_pk == artifacts.c.pk),
    )
    if query.cursor is not None:
        statement = statement.where(artifacts.c.name > _decode_name(query.cursor))
    return statement.order_by(artifacts.c.name).limit(query.limit + 1)


def list_versions(connection: Connection, query: ListVersions) -> VersionPage:
    """One page of an artifact's versions, oldest first.

    Raises:
        NotFound: the artifact has no version.
        InvalidRequest: the limit or the cursor breaks the contract.
    """
    check_count(query.limit, "limit", least=1, most=MAX_PAGE_SIZE)
    statement = _versions_of(query.key)
    if query.cursor is not None:
        statement = statement.where(artifact_versions.c.version > _decode_version(query.cursor))
    ordered = statement.order_by(artifact_versions.c.version).limit(query.limit + 1)
    page = _page(connection, ordered, query.limit, lambda last: str(last.version))
    if not page.items and query.cursor is None:
        raise _not_found(query.key, None)
    return page


def _versions_of(key: ArtifactKey) -> Select[Any]:
    place = ArtifactPlace.of(key)
    return (
        select(*_COLUMNS)
        .join(artifact_versions, artifact_versions.c.artifact_pk == artifacts.c.pk)
        .where(
            artifacts.c.app == place.app,
            artifacts.c.user_id == place.user,
            artifacts.c.session_id == place.session,
            artifacts.c.name == place.name,
        )
    )


def _page(connection: Connection, statement: Select[Any], limit: int, position: Any) -> VersionPage:
    rows = connection.execute(statement).all()
    items = [_reply(row) for row in rows[:limit]]
    cursor = None
    if len(rows) > limit:
        cursor = urlsafe_b64encode(position(items[-1]).encode()).decode()
    return VersionPage(items, cursor)


def _reply(row: Row[Any]) -> VersionReply:
    values = row._asdict()
    values["metadata"] = msgspec.Raw(values["metadata"].encode())
    return VersionReply(**values)


def _not_found(key: ArtifactKey, version: int | None) -> NotFound:
    what = "" if version is None else f" version {version} of"
    return NotFound(
        f"there is no{what} artifact {key.name!r} for session {key.session!r} "
        f"of user {key.user!r} in app {key.app!r}",
        field="key",
    )


def _decode_name(cursor: str) -> str:
    try:
        name = urlsafe_b64decode(cursor.encode()).decode()
        check_text(name, "cursor", MAX_NAME_BYTES)
    except ValueError:
        raise _bad_cursor() from None
    return name


def _decode_version(cursor: str) -> int:
    try:
        version = int(_decode_name(cursor))
    except ValueError:
        raise _bad_cursor() from None
    check_count(version, "cursor", least=1)
    return version


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest(
        "cursor is not one that this listing returned; start without a cursor", field="cursor"
    )
