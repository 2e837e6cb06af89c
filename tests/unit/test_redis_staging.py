"""How bytes are laid out in Redis by the client and read by the worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api_client.contract.operations import BlobReference
from api_client.contract.staging import CHUNK_BYTES, STAGED_SECONDS, chunk_count, chunk_key
from api_client.transport.base import BlobFile
from api_client.transport.staging import RedisStager
from worker.artifacts.staging import RedisStaging

DATA = b"begin" + bytes(2 * CHUNK_BYTES) + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def blob(tmp_path: Path) -> BlobFile:
    (tmp_path / "1").write_bytes(DATA)
    return BlobFile(tmp_path / "1", BlobReference(SHA256, len(DATA)))


def test_bytes_become_chunks_that_expire(redis: fakeredis.FakeRedis, blob: BlobFile) -> None:
    RedisStager(redis).stage([blob])
    keys = [chunk_key(SHA256, index) for index in range(3)]
    assert sorted(redis.keys()) == [key.encode() for key in keys]
    assert [redis.strlen(key) for key in keys] == [CHUNK_BYTES, CHUNK_BYTES, 8]
    assert all(0 < redis.ttl(key) <= STAGED_SECONDS for key in keys)


def test_the_worker_reads_what_the_client_staged(
    redis: fakeredis.FakeRedis, blob: BlobFile
) -> None:
    RedisStager(redis).stage([blob])
    assert b"".join(RedisStaging(redis).read(SHA256, len(DATA))) == DATA


def test_only_what_is_missing_is_staged_again(redis: fakeredis.FakeRedis, blob: BlobFile) -> None:
    stager = RedisStager(redis)
    stager.stage([blob])
    redis.set(chunk_key(SHA256, 0), b"still there", ex=1)
    redis.delete(chunk_key(SHA256, 1))
    stager.stage([blob])
    assert redis.get(chunk_key(SHA256, 0)) == b"still there"
    assert redis.ttl(chunk_key(SHA256, 0)) > 1
    assert redis.strlen(chunk_key(SHA256, 1)) == CHUNK_BYTES


def test_reading_stops_where_a_chunk_has_expired(
    redis: fakeredis.FakeRedis, blob: BlobFile
) -> None:
    RedisStager(redis).stage([blob])
    redis.delete(chunk_key(SHA256, 1))
    assert len(b"".join(RedisStaging(redis).read(SHA256, len(DATA)))) == CHUNK_BYTES


def test_discarding_leaves_nothing(redis: fakeredis.FakeRedis, blob: BlobFile) -> None:
    RedisStager(redis).stage([blob])
    RedisStaging(redis).discard(SHA256, len(DATA))
    assert redis.keys() == []


def test_a_committed_save_does_not_fail_because_redis_is_down(
    redis: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    down = fakeredis.FakeRedis(server=server)
    with pytest.raises(RedisConnectionError):
        down.ping()
    RedisStaging(down).discard(SHA256, len(DATA))
    assert "could not be removed" in caplog.text


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2)]
)
def test_chunk_count(size: int, count: int) -> None:
    assert chunk_count(size) == count
