"""How bytes are laid out in Redis by the client and read by the worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api_client.contract.errors import Unavailable
from api_client.contract.keys import ArtifactKey
from api_client.contract.operations import BlobReference, SaveArtifact
from api_client.contract.staging import CHUNK_BYTES, STAGED_SECONDS, chunk_count, chunk_key
from api_client.transport.base import BlobFile
from api_client.transport.staging import RedisStager
from worker.artifacts.blobs import MemoryBlobStore
from worker.artifacts.intake import Intake, Missing
from worker.artifacts.staging import RedisStaging

DATA = b"begin" + bytes(2 * CHUNK_BYTES) + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()
SAVED = BlobReference(SHA256, len(DATA))


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


def test_what_a_worker_found_wrong_is_staged_anew(
    redis: fakeredis.FakeRedis, blob: BlobFile
) -> None:
    stager = RedisStager(redis)
    stager.stage([blob])
    redis.set(chunk_key(SHA256, 0), bytes(CHUNK_BYTES))
    redis.set(chunk_key(SHA256, 1), b"short")
    redis.delete(chunk_key(SHA256, 2))
    stager.stage([blob], anew=True)
    assert b"".join(RedisStaging(redis).read(SHA256, len(DATA))) == DATA
    assert all(0 < redis.ttl(key) <= STAGED_SECONDS for key in redis.scan_iter())


@pytest.mark.parametrize("content", [DATA[:-1], DATA[:-1] + b"?", b""])
def test_a_copy_that_was_damaged_is_not_staged_for_ever(
    redis: fakeredis.FakeRedis, blob: BlobFile, content: bytes
) -> None:
    blob.path.write_bytes(content)
    RedisStager(redis).stage([blob])
    with pytest.raises(Unavailable, match=r"1 is damaged"):
        RedisStager(redis).stage([blob], anew=True)


class Trap(MemoryBlobStore):
    """Lets something happen after the first chunk of a put."""

    def __init__(self, spring: Callable[[], object]):
        super().__init__()
        self._spring = spring

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        def watched() -> Iterator[bytes]:
            for index, chunk in enumerate(chunks):
                yield chunk
                if index == 0:
                    self._spring()

        super().put(sha256, size, watched())


SAVE = SaveArtifact(
    key=ArtifactKey("app", "user", "session", "a"),
    mime_type="x/y",
    blob=SAVED,
)


def take(intake: Intake) -> None:
    with intake.blobs.batch() as batch:
        intake.take(SAVE, batch)


MISHAPS: dict[str, Callable[[fakeredis.FakeRedis], object]] = {
    "expired": lambda redis: redis.flushall(),
    "evicted": lambda redis: redis.delete(chunk_key(SHA256, 1)),
    "wrong": lambda redis: redis.set(chunk_key(SHA256, 1), bytes([1]) * CHUNK_BYTES),
    "short": lambda redis: redis.set(chunk_key(SHA256, 2), b"en"),
    "long": lambda redis: redis.append(chunk_key(SHA256, 2), b"end"),
    "empty": lambda redis: redis.set(chunk_key(SHA256, 2), b""),
}


@pytest.mark.parametrize("mishap", MISHAPS)
def test_whatever_becomes_of_chunks_while_they_are_read_the_second_staging_is_right(
    redis: fakeredis.FakeRedis, blob: BlobFile, mishap: str
) -> None:
    store = Trap(lambda: MISHAPS[mishap](redis))
    intake = Intake(store, RedisStaging(redis))
    RedisStager(redis).stage([blob])
    with pytest.raises(Missing) as caught:
        take(intake)
    assert caught.value.sha256 == SHA256
    assert not intake.present(blob.reference), "nothing half-stored"

    RedisStager(redis).stage([blob], anew=True)
    store._spring = lambda: None
    take(intake)
    assert store.read(SHA256, 0, len(DATA)) == DATA


def test_another_save_of_the_content_may_take_the_chunks_away(
    redis: fakeredis.FakeRedis, blob: BlobFile
) -> None:
    def other_save() -> None:
        MemoryBlobStore.put(store, SHA256, len(DATA), [DATA])
        RedisStaging(redis).discard([SAVED])

    store = Trap(other_save)
    RedisStager(redis).stage([blob])
    take(Intake(store, RedisStaging(redis)))
    assert store.read(SHA256, 0, len(DATA)) == DATA


def test_reading_stops_where_a_chunk_has_expired(
    redis: fakeredis.FakeRedis, blob: BlobFile
) -> None:
    RedisStager(redis).stage([blob])
    redis.delete(chunk_key(SHA256, 1))
    assert len(b"".join(RedisStaging(redis).read(SHA256, len(DATA)))) == CHUNK_BYTES


def test_discarding_leaves_nothing(redis: fakeredis.FakeRedis, blob: BlobFile) -> None:
    RedisStager(redis).stage([blob])
    RedisStaging(redis).discard([SAVED])
    assert redis.keys() == []


def test_a_committed_save_does_not_fail_because_redis_is_down(
    redis: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    down = fakeredis.FakeRedis(server=server)
    with pytest.raises(RedisConnectionError):
        down.ping()
    RedisStaging(down).discard([SAVED])
    assert "could not be removed" in caplog.text


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2)]
)
def test_chunk_count(size: int, count: int) -> None:
    assert chunk_count(size) == count
