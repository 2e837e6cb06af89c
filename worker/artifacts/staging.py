"""Where a worker finds bytes that a client has staged beside its message."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from api_client.contract.operations import BlobReference
from api_client.contract.staging import chunk_count, chunk_key

log = logging.getLogger(__name__)

_KEYS_AT_ONCE = 1000


class Staging(Protocol):
    """Read access to staged bytes."""

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """The staged bytes in order; fewer than ``size`` if some have expired."""

    def discard(self, blobs: Sequence[BlobReference]) -> None:
        """Forget staged bytes that are in the blob store now."""


class NoStaging:
    """For a worker in the client's process, where bytes go straight into the blob store."""

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """Nothing is ever staged here."""
        return iter(())

    def discard(self, blobs: Sequence[BlobReference]) -> None:
        """Nothing to forget."""


class RedisStaging:
    """Bytes that the client has put into Redis in chunks (`api_client.contract.staging`).

    Parameters:
        redis: a client of the Redis that holds the results; responses not decoded.
    """

    def __init__(self, redis: Redis):
        self._redis = redis

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """See `Staging.read`. One chunk is held in memory at a time."""
        for index in range(chunk_count(size)):
            chunk = self._redis.get(chunk_key(sha256, index))
            if not isinstance(chunk, bytes):
                return
            yield chunk

    def discard(self, blobs: Sequence[BlobReference]) -> None:
        """See `Staging.discard`."""
        keys = [
            chunk_key(blob.sha256, index)
            for blob in blobs
            for index in range(chunk_count(blob.size))
        ]
        try:
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                self._redis.unlink(*keys[start : start + _KEYS_AT_ONCE])
        except RedisError as error:
            # The save is committed already, and staged bytes expire by themselves.
            log.warning("staged bytes could not be removed", extra={"error": error})
