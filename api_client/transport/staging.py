"""Puts bytes too large for a message into Redis, in chunks that expire."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis

from api_client.contract.staging import CHUNK_BYTES, STAGED_SECONDS, chunk_count, chunk_key
from api_client.transport.base import BlobFile


class RedisStager:
    """Stages spooled files.

    Parameters:
        redis: the Redis that workers read staged bytes from.
    """

    def __init__(self, redis: Redis):
        self._redis = redis

    def stage(self, blobs: Sequence[BlobFile]) -> None:
        """Put every chunk that is not there yet, and give the others a fresh term.

        One chunk is held in memory at a time.
        """
        for blob in blobs:
            with open(blob.path, "rb") as file:
                for index in self._missing(blob):
                    file.seek(index * CHUNK_BYTES)
                    key = chunk_key(blob.reference.sha256, index)
                    self._redis.set(key, file.read(CHUNK_BYTES), ex=STAGED_SECONDS)

    def _missing(self, blob: BlobFile) -> list[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for index in range(chunk_count(blob.reference.size)):
            pipeline.expire(chunk_key(blob.reference.sha256, index), STAGED_SECONDS)
        return [index for index, there in enumerate(pipeline.execute()) if not there]
