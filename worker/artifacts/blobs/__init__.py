"""Blob stores: bytes by their SHA-256. Dumb on purpose; the index decides what is kept."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from api_client.contract.errors import InvalidRequest
from worker.artifacts.blobs.base import BlobStore, Quarantine
from worker.artifacts.blobs.filesystem import FilesystemBlobStore
from worker.artifacts.blobs.memory import MemoryBlobStore

__all__ = [
    "BlobStore",
    "FilesystemBlobStore",
    "MemoryBlobStore",
    "Quarantine",
    "open_blob_store",
]


def open_blob_store(url: str) -> BlobStore:
    """The blob store at ``url``: ``file:///folder`` (or a plain path), or ``memory://``.

    Raises:
        InvalidRequest: the URL is of an unsupported kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return MemoryBlobStore()
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return FilesystemBlobStore(Path(unquote(parts.path)))
    if not parts.scheme and url:
        return FilesystemBlobStore(Path(url))
    raise InvalidRequest(
        f"unsupported blob store {parts.scheme or url!r}; use file:///folder or memory://",
        field="artifacts_url",
    )
