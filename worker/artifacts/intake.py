"""Brings the bytes of saves into the blob store, before any row refers to them."""

from __future__ import annotations

import hashlib

from api_client.contract.codec import encode
from api_client.contract.operations import BlobReference, SaveArtifact
from worker.artifacts.blobs.base import BlobMismatch, BlobStore
from worker.artifacts.evaluate import DecodedSave
from worker.artifacts.staging import Staging


class Missing(Exception):
    """The staged bytes of a save are neither in staging nor in the blob store.

    Parameters:
        sha256: their hash.
    """

    def __init__(self, sha256: str):
        super().__init__(sha256)
        self.sha256 = sha256


class Intake:
    """Takes bytes in from messages and from staging.

    Parameters:
        blobs: where they go.
        staging: where those that are not in the message come from.
    """

    def __init__(self, blobs: BlobStore, staging: Staging):
        self._blobs = blobs
        self._staging = staging

    def take(self, operation: SaveArtifact) -> DecodedSave:
        """Make sure the operation's bytes are in the blob store.

        Raises:
            Missing: staged bytes have expired, or are not those announced.
            OSError: the blob store cannot be written.
        """
        blob = self._take_inline(operation.data) if operation.data is not None else operation.blob
        assert blob is not None
        if operation.data is None:
            self._take_staged(blob)
        return DecodedSave(
            operation.key, blob, operation.mime_type, encode(operation.metadata).decode()
        )

    def present(self, blob: BlobReference) -> bool:
        """Whether the bytes are still in the blob store."""
        return self._blobs.contains(blob.sha256, blob.size)

    def discard_staged(self, operation: SaveArtifact) -> None:
        """Forget the staged copy of bytes whose save has been committed."""
        if operation.blob is not None:
            self._staging.discard(operation.blob.sha256, operation.blob.size)

    def _take_inline(self, data: bytes) -> BlobReference:
        blob = BlobReference(hashlib.sha256(data).hexdigest(), len(data))
        if not self._holds(blob, data):
            self._blobs.put(blob.sha256, blob.size, [data])
        return blob

    def _holds(self, blob: BlobReference, data: bytes) -> bool:
        """Whether the blob store has these very bytes: damaged ones are put anew, since the right
        ones are at hand."""
        try:
            return self.present(blob) and self._blobs.read(blob.sha256, 0, blob.size) == data
        except FileNotFoundError:
            # The sweep was quicker.
            return False

    def _take_staged(self, blob: BlobReference) -> None:
        # Bytes that are present are not read: they may be many. `zdk artifacts verify --quarantine`
        # moves damaged ones away, after which the next save brings them anew.
        if self.present(blob):
            return
        try:
            self._blobs.put(blob.sha256, blob.size, self._staging.read(blob.sha256, blob.size))
        except BlobMismatch:
            # Another save of the same content may have removed them when it was done.
            if not self.present(blob):
                raise Missing(blob.sha256) from None
