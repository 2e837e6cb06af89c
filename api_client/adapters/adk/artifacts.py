"""ADK's artifact service, kept by a `StorageClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from google.adk.artifacts import BaseArtifactService, artifact_util
from google.adk.artifacts.base_artifact_service import ArtifactVersion, ensure_part
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from api_client.adapters.adk import parts
from api_client.adapters.adk.clients import HoldsClient
from api_client.artifact_uri import ANY_SESSION, artifact_uri
from api_client.client import StorageClient
from api_client.contract.checks import check_text
from api_client.contract.errors import NotFound
from api_client.contract.keys import USER_SCOPE_PREFIX, ArtifactKey, SessionKey
from api_client.contract.limits import MAX_COUNT, MAX_NAME_BYTES
from api_client.contract.records import Artifact, Page
from api_client.contract.records import ArtifactVersion as StoredVersion
from api_client.receipts import Receipt

Item = TypeVar("Item")

#: References that a load follows, one to the next. As many as ADK's own services do.
_MAX_REFERENCES = 5


class ZdkArtifactService(HoldsClient, BaseArtifactService):  # type: ignore[misc]
    """Keeps ADK's artifacts in ZDK Storage.

    ::

        service = ZdkArtifactService("redis://localhost:6379/0")
        runner = Runner(app_name="app", agent=agent, artifact_service=service, ...)

    It keeps the contract of `BaseArtifactService`. One service serves all tasks, threads and event
    loops of a process, and never blocks a loop.

    Versions count from 0, as ADK counts them: version 0 here is version 1 of ``zdk artifacts``. A
    number is never used again, also after a delete. A part comes back as it was saved, of whatever
    kind; a file name is any text of at most `MAX_NAME_BYTES` bytes without NUL, and never becomes a
    path.

    A file whose name begins with ``user:`` belongs to the user. So does one that is saved without a
    session; ``user:`` is put before its name, under which it is listed, and with which every
    session loads it.

    Parameters:
        client: a `StorageClient`, remote or local, which stays the caller's to close; or the URL
            of a Celery broker, for a client of the service's own, which `close` closes.
        options: of `StorageClient` (``outbox``, ``artifacts_url``, ...), if ``client`` is a URL.

    Raises:
        InvalidRequest: an argument is wrong.
        Unavailable: the outbox is in use, or cannot be opened.

    Every method raises `InputValidationError` for ids that ADK's own services refuse, such as
    ``..`` (`artifact_util.validate_path_segment`), `InvalidRequest` or `TooLarge` where a limit of
    this storage is exceeded, `Unavailable` if a part of it is down, and TimeoutError after the
    client's ``wait_timeout``; a save or delete that was handed over by then is done all the same.
    """

    def __init__(self, client: StorageClient | str, **options: Any):
        super().__init__(client, options)
        self._artifacts = self._client.artifacts

    async def save_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        artifact: types.Part | dict[str, Any],
        session_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> int:
        """Save the next version of a file, and return its number once it is committed.

        Parameters:
            artifact: a part with ``inline_data``, ``text`` or ``file_data``, or its fields as a
                dict. At most `MAX_ARTIFACT_BYTES`. A reference (``file_data`` with a URI that
                begins with ``artifact://``) may lead to an artifact of the same app, user and
                session only, or of the user.
            session_id: None for a file of the user.
            custom_metadata: a JSON object; together with what else the part holds beside its bytes
                at most `MAX_METADATA_BYTES`.

        Raises:
            InputValidationError: the part has none of the three, or a reference leads elsewhere.
        """
        key = _key(app_name, user_id, session_id, filename)
        part = ensure_part(artifact)
        if not isinstance(part, types.Part):
            raise InputValidationError("Artifact must be a Part or a dict.")
        if parts.is_reference(part):
            _resolve(part, app_name, user_id, session_id, _MAX_REFERENCES)
        stored = parts.stored_part(part, custom_metadata)

        def save() -> Receipt[int]:
            return self._artifacts.save(
                key, stored.data, mime_type=stored.mime_type, metadata=stored.metadata
            )

        # Large data may be held up by the disk before it is taken.
        large = len(stored.data) > self._artifacts.inline_bytes
        receipt = await asyncio.to_thread(save) if large else save()
        return await receipt - 1

    async def load_artifact(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> types.Part | None:
        """The part that was saved; of a reference, what it leads to.

        Parameters:
            version: from 0; the latest if None.

        Returns None if there is none, and for data of no bytes of the type
        ``application/octet-stream``, with which ADK marks what a rewind has removed.

        Raises:
            InputValidationError: a reference leads elsewhere, or there are more than five in a row.
            Unavailable: the bytes are damaged or missing.
        """
        remaining = _MAX_REFERENCES
        while True:
            key = _key(app_name, user_id, session_id, filename)
            found = await self._load(key, version)
            if found is None:
                return None
            part = parts.loaded_part(found)
            if not parts.is_reference(part):
                return None if parts.is_removed(part) else part
            target = _resolve(part, app_name, user_id, session_id, remaining)
            session_id, filename, version = target.session_id, target.filename, target.version
            remaining -= 1

    async def list_artifact_keys(
        self, *, app_name: str, user_id: str, session_id: str | None = None
    ) -> list[str]:
        """The names of a session's files and of its user's, sorted; only the latter if
        ``session_id`` is None. Each can be loaded by the name that is listed."""
        _check_ids(app_name, user_id)
        session = ANY_SESSION if session_id is None else _session(session_id)
        key = SessionKey(app_name, user_id, session)
        found = await _all(lambda cursor: self._artifacts.list(key, cursor=cursor))
        names = (version.name for version in found)
        if session_id is None:
            names = (name for name in names if name.startswith(USER_SCOPE_PREFIX))
        return sorted(names)

    async def delete_artifact(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> None:
        """Delete all versions of a file; if there are none, do nothing."""
        key = _key(app_name, user_id, session_id, filename)
        try:
            await self._artifacts.delete(key)
        except NotFound:
            return

    async def list_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[int]:
        """The numbers of a file's versions, ascending; empty if there is no such file."""
        key = _key(app_name, user_id, session_id, filename)
        return [version.version - 1 for version in await self._versions(key)]

    async def list_artifact_versions(
        self, *, app_name: str, user_id: str, filename: str, session_id: str | None = None
    ) -> list[ArtifactVersion]:
        """What is known of each version of a file, ascending; empty if there is no such file.

        Each ``canonical_uri`` is one that ``zdk artifacts get`` takes.
        """
        key = _key(app_name, user_id, session_id, filename)
        return [_described(key, version) for version in await self._versions(key)]

    async def get_artifact_version(
        self,
        *,
        app_name: str,
        user_id: str,
        filename: str,
        session_id: str | None = None,
        version: int | None = None,
    ) -> ArtifactVersion | None:
        """What is known of one version, without its bytes; None if there is no such version.

        Parameters:
            version: from 0; the latest if None.
        """
        key = _key(app_name, user_id, session_id, filename)
        found = await self._load(key, version, length=0)
        return None if found is None else _described(key, found)

    async def _load(
        self, key: ArtifactKey, version: int | None, length: int | None = None
    ) -> Artifact | None:
        """A version by ADK's number, or the latest; None if there is no such version."""
        if version is not None:
            if not 0 <= version < MAX_COUNT:
                return None
            version += 1
        try:
            return await self._artifacts.load(key, version=version, length=length)
        except NotFound:
            return None

    async def _versions(self, key: ArtifactKey) -> list[StoredVersion]:
        try:
            return await _all(lambda cursor: self._artifacts.versions(key, cursor=cursor))
        except NotFound:
            return []


async def _all(ask: Callable[[str | None], Receipt[Page[Item]]]) -> list[Item]:
    """The items of all pages."""
    page = await ask(None)
    items = page.items
    while page.next_cursor is not None:
        page = await ask(page.next_cursor)
        items += page.items
    return items


def _key(app_name: str, user_id: str, session_id: str | None, filename: str) -> ArtifactKey:
    """The artifact that ADK means by these."""
    _check_ids(app_name, user_id)
    check_text(filename, "filename", MAX_NAME_BYTES)
    if filename.startswith(USER_SCOPE_PREFIX):
        return ArtifactKey(app_name, user_id, ANY_SESSION, filename)
    if session_id is None:
        return ArtifactKey(app_name, user_id, ANY_SESSION, USER_SCOPE_PREFIX + filename)
    return ArtifactKey(app_name, user_id, _session(session_id), filename)


def _check_ids(app_name: str, user_id: str) -> None:
    artifact_util.validate_path_segment(app_name, "app_name")
    artifact_util.validate_path_segment(user_id, "user_id")


def _session(session_id: str) -> str:
    """The id of the session that is meant: ADK trims the ids of the sessions that it creates."""
    artifact_util.validate_path_segment(session_id, "session_id")
    return session_id.strip()


def _resolve(
    part: types.Part, app_name: str, user_id: str, session_id: str | None, remaining: int
) -> artifact_util.ParsedArtifactUri:
    """Where a reference leads. Raises InputValidationError if it may not lead there."""
    return artifact_util.resolve_artifact_reference(
        file_uri=part.file_data.file_uri,
        app_name=app_name,
        user_id=user_id,
        session_id=None if session_id is None else session_id.strip(),
        remaining_depth=remaining,
    )


def _described(key: ArtifactKey, version: StoredVersion) -> ArtifactVersion:
    return ArtifactVersion(
        version=version.version - 1,
        canonical_uri=artifact_uri(key, version.version),
        custom_metadata=parts.custom_metadata(version),
        create_time=version.created_at.timestamp(),
        mime_type=parts.mime_type(version),
    )
