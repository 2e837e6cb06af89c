"""Where a worker finds bytes that a client has staged beside its message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from api_client.contract.staging import chunk_count, chunk_key


class Staging(Protocol):
    """Read access to staged bytes."""

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """The staged bytes in order; fewer than ``size`` if some have expired."""

    def discard(self, sha256: str, size: int) -> None:
        """Forget staged bytes that are in the blob store now."""


class NoStaging:
    """For a worker in the client's process, where bytes go straight into the blob store."""

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """Nothing is ever staged here."""
        return iter(())

    def discard(self, sha256: str, size: int) -> None:
        """Nothing to forget."""


class RedisStaging:
    """Bytes that the client has put into Redis in chunks (`api_client.contract.staging`).

    Parameters:
        redis: a client of the Redis that holds the results; responses not decoded.
    """

    def __init__(self, redis: Any):
        self._redis = redis

    def read(self, sha256: str, size: int) -> Iterator[bytes]:
        """See `Staging.read`. One chunk is held in memory at a time."""
        for index in range(chunk_count(size)):
            chunk = self._redis.get(chunk_key(sha256, index))
            if chunk is None:
                return
            yield chunk

    def discard(self, sha256: str, size: int) -> None:
        """See `Staging.discard`."""
        keys = [chunk_key(sha256, index) for index in range(chunk_count(size))]
        for start in range(0, len(keys), 1000):
            self._redis.unlink(*keys[start : start + 1000])
