"""Brings the bytes of saves into the blob store, before any row refers to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from api_client.contract.codec import encode
from api_client.contract.operations import BlobReference, SaveArtifact
from api_client.contract.staging import PART_BYTES
from worker.artifacts.blobs.base import Batch, BlobMismatch, BlobStore
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

    Attributes:
        blobs: where they go.
        staging: where those that are not in the message come from.
    """

    def __init__(self, blobs: BlobStore, staging: Staging):
        self.blobs = blobs
        self.staging = staging

    def take(self, operation: SaveArtifact, batch: Batch) -> DecodedSave:
        """Make sure the operation's bytes are in the blob store once ``batch`` has ended.

        Parameters:
            batch: of that blob store.

        Raises:
            Missing: staged bytes have expired, or are not those announced.
            OSError: the blob store cannot be written.
        """
        if operation.data is not None:
            blob = self._take_inline(operation.data, batch)
        else:
            assert operation.blob is not None
            blob = operation.blob
            self._take_staged(blob, batch)
        return DecodedSave(
            operation.key, blob, operation.mime_type, encode(operation.metadata).decode()
        )

    def present(self, blob: BlobReference) -> bool:
        """Whether bytes that were taken are still in the blob store."""
        return self.blobs.remains(blob.sha256, blob.size)

    def discard_staged(self, operations: Iterable[SaveArtifact]) -> None:
        """Forget the staged copies of bytes whose saves have been committed."""
        blobs = [operation.blob for operation in operations if operation.blob is not None]
        if blobs:
            self.staging.discard(blobs)

    def _take_inline(self, data: bytes, batch: Batch) -> BlobReference:
        blob = BlobReference(hashlib.sha256(data).hexdigest(), len(data))
        if not self._holds(blob, data, batch):
            batch.put(blob.sha256, blob.size, [data])
        return blob

    def _holds(self, blob: BlobReference, data: bytes, batch: Batch) -> bool:
        """Whether the blob store has these very bytes: damaged ones are put anew, since the right
        ones are at hand."""
        try:
            return (
                batch.contains(blob.sha256, blob.size)
                and self.blobs.read(blob.sha256, 0, blob.size) == data
            )
        except FileNotFoundError:
            # The sweep was quicker.
            return False

    def _take_staged(self, blob: BlobReference, batch: Batch) -> None:
        # Bytes that are present are not read: they may be many. `zdk artifacts verify --quarantine`
        # moves damaged ones away, after which the next save brings them anew.
        if batch.contains(blob.sha256, blob.size):
            return
        if blob.size > PART_BYTES and self.blobs.uploads.finish(blob):
            return
        try:
            batch.put(blob.sha256, blob.size, self.staging.read(blob.sha256, blob.size))
        except BlobMismatch:
            # Another save of the same content may have removed them when it was done.
            if not batch.contains(blob.sha256, blob.size):
                raise Missing(blob.sha256) from None
