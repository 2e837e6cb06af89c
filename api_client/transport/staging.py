"""Makes bytes too large for a message reachable for workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from redis import Redis

from api_client.contract.errors import Unavailable
from api_client.contract.staging import CHUNK_BYTES, STAGED_SECONDS, chunk_count, chunk_key
from api_client.transport.base import BlobFile


class BlobStore(Protocol):
    """What staging needs of a blob store (``worker.artifacts.blobs.BlobStore``)."""

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store bytes."""

    def contains(self, sha256: str, size: int) -> bool:
        """Whether it has them."""


class BlobStoreStager:
    """Puts bytes straight into the blob store, once per content.

    Parameters:
        store: the same one that the workers use.
    """

    def __init__(self, store: BlobStore):
        self._store = store

    def stage(self, blobs: Sequence[BlobFile]) -> None:
        """Put what is not there yet, in pieces.

        Raises:
            Unavailable: the blob store cannot be written.
        """
        for blob in blobs:
            sha256, size = blob.reference.sha256, blob.reference.size
            try:
                if not self._store.contains(sha256, size):
                    with open(blob.path, "rb") as file:
                        self._store.put(sha256, size, iter(partial(file.read, CHUNK_BYTES), b""))
            except OSError as error:
                raise Unavailable(f"the blob store cannot be written: {error}") from error


class RedisStager:
    """Puts bytes into Redis, in chunks that expire.

    Parameters:
        redis: the Redis that workers read staged bytes from.
    """

    def __init__(self, redis: Redis):
        self._redis = redis

    def stage(self, blobs: Sequence[BlobFile], *, anew: bool = False) -> None:
        """Put every chunk that is not there yet, and give the others a fresh term.

        One chunk is held in memory at a time.

        Parameters:
            anew: put all of them, because a worker has found that those there are not right.

        Raises:
            Unavailable: a file no longer holds the bytes it was made with; only when ``anew``.
        """
        for blob in blobs:
            if anew:
                self._put_all(blob)
            else:
                self._put_missing(blob)

    def _put_missing(self, blob: BlobFile) -> None:
        with open(blob.path, "rb") as file:
            for index in self._missing(blob):
                file.seek(index * CHUNK_BYTES)
                self._put(blob, index, file.read(CHUNK_BYTES))

    def _put_all(self, blob: BlobFile) -> None:
        digest = hashlib.sha256()
        with open(blob.path, "rb") as file:
            for index in range(chunk_count(blob.reference.size)):
                chunk = file.read(CHUNK_BYTES)
                digest.update(chunk)
                self._put(blob, index, chunk)
        if digest.hexdigest() != blob.reference.sha256:
            # Without this the worker would go on refusing what the client goes on staging.
            raise Unavailable(
                f"{blob.path} is damaged: its bytes are not those that were accepted, and the save "
                "that needs them cannot be applied"
            )

    def _put(self, blob: BlobFile, index: int, chunk: bytes) -> None:
        self._redis.set(chunk_key(blob.reference.sha256, index), chunk, ex=STAGED_SECONDS)

    def _missing(self, blob: BlobFile) -> list[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for index in range(chunk_count(blob.reference.size)):
            pipeline.expire(chunk_key(blob.reference.sha256, index), STAGED_SECONDS)
        return [index for index, there in enumerate(pipeline.execute()) if not there]
