"""Makes bytes too large for a message reachable for workers."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from redis import Redis

from api_client.contract.errors import Unavailable
from api_client.contract.operations import BlobReference
from api_client.contract.staging import CHUNK_BYTES, STAGED_SECONDS, chunk_count, chunk_key
from api_client.transport.base import BlobFile

#: Files put before their messages that are remembered at most.
_MOST_EARLY = 10_000
#: Seconds for which they are; much less than any grace period of the sweep.
_EARLY_SECONDS = 60.0


class BlobStore(Protocol):
    """What staging needs of a blob store (``worker.artifacts.blobs.BlobStore``)."""

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Store bytes."""

    def contains(self, sha256: str, size: int) -> bool:
        """Whether it has them."""

    def offer(self, sha256: str, size: int, path: Path) -> bool:
        """Make the bytes of a file reachable; False if they were there already."""


class BlobStoreStager:
    """Puts bytes straight into the blob store, once per content, without a copy where it can.

    Parameters:
        store: the same one that the workers use.
    """

    def __init__(self, store: BlobStore):
        self._store = store
        #: Files that `stage` need not look at, and when they were put.
        self._early: dict[Path, float] = {}

    def stage_early(self, blob: BlobFile) -> None:
        """Put bytes whose message is not formed yet, so that it need not wait for that.

        What fails here is left to `stage`.
        """
        if not blob.shareable:
            return
        if len(self._early) >= _MOST_EARLY:
            self._early.clear()
        with contextlib.suppress(OSError):
            self._offer(blob)
            self._early[blob.path] = time.monotonic()

    def stage(self, blobs: Sequence[BlobFile]) -> int:
        """Put what is not there yet; returns how many that were.

        Raises:
            Unavailable: the blob store cannot be written, or a file is damaged.
        """
        try:
            return sum([self._is_early(blob) or self._offer(blob) for blob in blobs])
        except OSError as error:
            raise Unavailable(f"the blob store cannot be written: {error}") from error

    def _is_early(self, blob: BlobFile) -> bool:
        """Whether a file was put a short while ago. Only the first message with it may rely on
        that: a worker that misses it makes the client send, and so put, it again."""
        return time.monotonic() - self._early.pop(blob.path, -math.inf) < _EARLY_SECONDS

    def _offer(self, blob: BlobFile) -> bool:
        sha256, size = blob.reference.sha256, blob.reference.size
        if blob.shareable:
            return self._store.offer(sha256, size, blob.path)
        if self._store.contains(sha256, size):
            return False
        with open(blob.path, "rb") as file:
            self._store.put(sha256, size, _chunks(file))
        return True


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
                # Or the worker would go on refusing what the client goes on staging.
                check(blob)
            missing = range(chunk_count(blob.reference.size)) if anew else self._missing(blob)
            with open(blob.path, "rb") as file:
                for index in missing:
                    file.seek(index * CHUNK_BYTES)
                    self._put(blob.reference, index, file.read(CHUNK_BYTES))

    def stage_part(self, part: BlobReference, chunks: Sequence[bytes]) -> None:
        """Put a part of a larger blob.

        Parameters:
            chunks: its bytes, `CHUNK_BYTES` in each but the last.
        """
        for index, chunk in enumerate(chunks):
            self._put(part, index, chunk)

    def _put(self, blob: BlobReference, index: int, chunk: bytes) -> None:
        self._redis.set(chunk_key(blob.sha256, index), chunk, ex=STAGED_SECONDS)

    def _missing(self, blob: BlobFile) -> list[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for index in range(chunk_count(blob.reference.size)):
            pipeline.expire(chunk_key(blob.reference.sha256, index), STAGED_SECONDS)
        return [index for index, there in enumerate(pipeline.execute()) if not there]


def check(blob: BlobFile) -> None:
    """Read a file. Raises `Unavailable` unless it holds the bytes it was made with."""
    digest = hashlib.sha256()
    with open(blob.path, "rb") as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    if digest.hexdigest() != blob.reference.sha256:
        raise Unavailable(
            f"{blob.path} is damaged: its bytes are not those that were accepted, and the save "
            "that needs them cannot be applied"
        )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, CHUNK_BYTES), b"")
