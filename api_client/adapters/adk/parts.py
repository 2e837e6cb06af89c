"""What is stored of an ADK artifact, and how it is made a part again. Pure.

An artifact's bytes are what the part is about: the data of ``inline_data``, the text as UTF-8, or
the URI of ``file_data``. So every other reader finds a file that it can use. Whatever else the part
holds is kept in the version's metadata, under `PART`; a part of nothing but data and mime type
needs no such entry, and an artifact that another program has saved is such a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from api_client.contract.checks import utf8_length
from api_client.contract.errors import InvalidRequest
from api_client.contract.records import Artifact, ArtifactVersion

#: The metadata key of what a part holds beside its bytes.
PART = "zdk:adk.part"

_BINARY = "application/octet-stream"
_TEXT = "text/plain"
_URI = "text/uri-list"


@dataclass(frozen=True)
class StoredPart:
    """A part, ready to be saved.

    Attributes:
        data: its bytes.
        mime_type: of these.
        metadata: the caller's, and what the part holds beside its bytes.
    """

    data: bytes
    mime_type: str
    metadata: dict[str, Any]


def stored_part(part: types.Part, custom_metadata: Mapping[str, Any] | None) -> StoredPart:
    """What to store of ``part``.

    Parameters:
        custom_metadata: the caller's own; may not have the key `PART`.

    Raises:
        InputValidationError: the part has no data, text or file URI.
        InvalidRequest: the text has no UTF-8 form, or the metadata has that key.
    """
    metadata = dict(custom_metadata or {})
    if PART in metadata:
        raise InvalidRequest(
            f"custom_metadata may not have the key {PART!r}", field="custom_metadata"
        )
    if part.inline_data is not None:
        data = part.inline_data.data
        if data is None:
            raise InputValidationError("Artifact inline_data must contain data.")
        mime_type = part.inline_data.mime_type or _BINARY
        rest = _dump(part, {"inline_data": {"data"}})
        if rest != {"inline_data": {"mime_type": mime_type}}:
            metadata[PART] = rest
        return StoredPart(data, mime_type, metadata)
    if part.text is not None:
        utf8_length(part.text, "artifact.text")
        metadata[PART] = {**_dump(part, {"text"}), "text": ""}
        return StoredPart(part.text.encode(), _TEXT, metadata)
    if part.file_data is not None:
        if not part.file_data.file_uri:
            raise InputValidationError("Artifact file_data must have a file_uri.")
        utf8_length(part.file_data.file_uri, "artifact.file_data.file_uri")
        metadata[PART] = _dump(part, set())
        return StoredPart(part.file_data.file_uri.encode(), _URI, metadata)
    raise InputValidationError("Artifact must have inline_data, text or file_data.")


def loaded_part(artifact: Artifact) -> types.Part:
    """The part that was stored as ``artifact``."""
    rest = artifact.metadata.get(PART)
    if rest is None:
        return types.Part(inline_data=types.Blob(data=artifact.data, mime_type=artifact.mime_type))
    # As JSON, in which bytes are base64, also inside a part.
    part = types.Part.model_validate_json(msgspec.json.encode(rest))
    if part.inline_data is not None:
        part.inline_data.data = artifact.data
    elif part.text is not None:
        part.text = artifact.data.decode()
    return part


def is_reference(part: types.Part) -> bool:
    """Whether ``part`` stands for another artifact, which ADK gives in its place."""
    return (
        part.inline_data is None
        and part.text is None
        and part.file_data is not None
        and _is_artifact(part.file_data.file_uri or "")
    )


def is_removed(part: types.Part) -> bool:
    """Whether ``part`` is what ADK saves when it rewinds a session to before the artifact: data of
    no bytes and no particular type. ADK loads it as if there were no artifact."""
    return bool(part == types.Part(inline_data=types.Blob(data=b"", mime_type=_BINARY)))


def mime_type(version: ArtifactVersion) -> str | None:
    """The mime type that ADK shows of ``version``: that of its part, None if that has none. What a
    reference stands for is not known before it is loaded."""
    rest: dict[str, Any] | None = version.metadata.get(PART)
    if rest is None:
        return version.mime_type
    if "inline_data" in rest:
        return _mime_type_in(rest["inline_data"])
    if "text" in rest:
        return version.mime_type
    file_data = rest["file_data"]
    return None if _is_artifact(file_data["file_uri"]) else _mime_type_in(file_data)


def custom_metadata(version: ArtifactVersion) -> dict[str, Any]:
    """The caller's own part of the metadata of ``version``."""
    return {key: value for key, value in version.metadata.items() if key != PART}


def _dump(part: types.Part, without: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = part.model_dump(mode="json", exclude_none=True, exclude=without)
    return dumped


def _is_artifact(uri: str) -> bool:
    return uri.startswith("artifact://")


def _mime_type_in(dumped: dict[str, str]) -> str | None:
    return dumped.get("mime_type")
