"""What a worker does when it is asked for blobs, and handed a part of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest, StorageError
from api_client.contract.limits import MAX_BLOBS_PER_QUERY, MAX_COUNT
from api_client.contract.operations import BlobReference, FindBlobs, PutPart, Query
from api_client.contract.outcomes import BlobsFound, MissingBlob, PartPut
from api_client.contract.staging import PART_BYTES, chunk_key
from api_client.transport.staging import RedisStager
from tests.support.artifacts import load, reference, saving, try_apply
from worker.artifacts.blobs import FilesystemBlobStore
from worker.artifacts.staging import RedisStaging
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

REST = b"and the rest"
DATA = bytes(range(256)) * (PART_BYTES // 256) + REST
BLOB = BlobReference(hashlib.sha256(DATA).hexdigest(), len(DATA))
PARTS = [reference(DATA[:PART_BYTES]), reference(REST)]
UNKNOWN = reference(b"unknown")


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def storage(tmp_path: Path, redis: fakeredis.FakeRedis) -> Iterator[Storage]:
    database = Database(DatabaseOptions("sqlite://"))
    upgrade(database)
    yield Storage(
        database, FilesystemBlobStore(tmp_path / "blobs"), RedisStaging(redis), patience=0.0
    )
    database.close()


def stage(redis: fakeredis.FakeRedis, index: int) -> PutPart:
    """Stage a part, and give the query that has it taken."""
    data = DATA[index * PART_BYTES :][:PART_BYTES]
    chunks = [data[start : start + 2**20] for start in range(0, len(data), 2**20)]
    RedisStager(redis).stage_part(PARTS[index], chunks)
    return PutPart(blob=BLOB, index=index, part=PARTS[index])


def ask(storage: Storage, query: Query) -> bytes:
    reply = storage.query(query)
    assert reply.error is None
    return bytes(reply.ok)


def put(storage: Storage, query: PutPart) -> bool:
    return codec.decode(ask(storage, query), PartPut).stored


def find(storage: Storage, *blobs: BlobReference) -> list[MissingBlob]:
    return codec.decode(ask(storage, FindBlobs(blobs=[*blobs])), BlobsFound).missing


def test_parts_make_a_blob_that_a_save_may_refer_to(
    storage: Storage, redis: fakeredis.FakeRedis
) -> None:
    for index in (1, 0):
        assert put(storage, stage(redis, index))
        assert redis.keys() == []
    assert find(storage, BLOB) == [MissingBlob(BLOB.sha256, [0, 1])]
    reply = try_apply(storage, saving("a", DATA, staged=True))
    assert [outcome.error for outcome in reply.outcomes] == [None]
    assert find(storage, BLOB) == []
    assert storage.blobs.read(BLOB.sha256, 0, BLOB.size) == DATA
    assert load(storage, "a") == DATA[: 4 * 2**20]


def test_a_save_whose_parts_are_not_all_there_names_what_is_missing(
    storage: Storage, redis: fakeredis.FakeRedis
) -> None:
    put(storage, stage(redis, 0))
    assert try_apply(storage, saving("a", DATA, staged=True)).missing == [BLOB.sha256]
    assert find(storage, BLOB) == [MissingBlob(BLOB.sha256, [0])]


def test_a_save_whose_parts_are_wrong_asks_for_them_again(
    storage: Storage, redis: fakeredis.FakeRedis
) -> None:
    put(storage, stage(redis, 0))
    other = reference(REST[::-1])
    RedisStager(redis).stage_part(other, [REST[::-1]])
    # The part is what it says; that it is none of the blob's is seen in the end.
    assert put(storage, PutPart(blob=BLOB, index=1, part=other))
    assert try_apply(storage, saving("a", DATA, staged=True)).missing == [BLOB.sha256]
    assert find(storage, BLOB) == [MissingBlob(BLOB.sha256, [])]
    for index in (0, 1):
        assert put(storage, stage(redis, index))
    assert not try_apply(storage, saving("a", DATA, staged=True)).missing


@pytest.mark.parametrize("lost", ["expired", "changed", "short"])
def test_a_part_that_is_not_as_staged_is_not_taken(
    storage: Storage, redis: fakeredis.FakeRedis, lost: str
) -> None:
    query = stage(redis, 0)
    key = chunk_key(PARTS[0].sha256, 3)
    if lost == "expired":
        redis.delete(key)
    else:
        redis.set(key, bytes(2**20) if lost == "changed" else b"short")
    assert not put(storage, query)
    assert find(storage, BLOB) == [MissingBlob(BLOB.sha256, [])]
    redis.delete(*redis.keys())
    assert put(storage, stage(redis, 0))


def test_a_part_that_comes_twice_is_there_once(
    storage: Storage, redis: fakeredis.FakeRedis
) -> None:
    query = stage(redis, 0)
    assert put(storage, query)
    # The second copy finds nothing staged any more, and that the part is there.
    assert put(storage, query)
    assert put(storage, stage(redis, 0))
    assert redis.keys() == []


def test_a_part_that_comes_after_the_whole_begins_nothing_new(
    storage: Storage, redis: fakeredis.FakeRedis, tmp_path: Path
) -> None:
    storage.blobs.put(BLOB.sha256, BLOB.size, [DATA])
    assert put(storage, stage(redis, 0))
    assert redis.keys() == []
    assert not (tmp_path / "blobs" / "uploads").exists()


def test_blobs_are_told_apart(storage: Storage) -> None:
    small = reference(b"small")
    storage.blobs.put(small.sha256, small.size, [b"small"])
    wrong_size = BlobReference(small.sha256, 6)
    assert find(storage, UNKNOWN, small, wrong_size) == [
        MissingBlob(UNKNOWN.sha256, []),
        MissingBlob(small.sha256, []),
    ]
    assert find(storage) == []


BAD: dict[str, tuple[Query, str]] = {
    "index": (PutPart(blob=BLOB, index=2, part=PARTS[1]), "index"),
    "negative index": (PutPart(blob=BLOB, index=-1, part=PARTS[1]), "index"),
    "huge index": (PutPart(blob=BLOB, index=MAX_COUNT, part=PARTS[1]), "index"),
    "short part": (PutPart(blob=BLOB, index=0, part=PARTS[1]), "part.size"),
    "long part": (PutPart(blob=BLOB, index=1, part=PARTS[0]), "part.size"),
    "empty blob": (PutPart(blob=BlobReference("0" * 64, 0), index=0, part=PARTS[1]), "part.size"),
    "negative size": (
        PutPart(blob=BlobReference("0" * 64, -1), index=0, part=PARTS[1]),
        "blob.size",
    ),
    "huge size": (
        PutPart(blob=BlobReference("0" * 64, 2**60), index=0, part=PARTS[0]),
        "blob",
    ),
    "path": (
        PutPart(blob=BlobReference("../" + "0" * 61, 5), index=0, part=PARTS[0]),
        "blob.sha256",
    ),
    "part's path": (
        PutPart(blob=BLOB, index=0, part=BlobReference("/" + "0" * 63, PART_BYTES)),
        "blob.sha256",
    ),
    "asked path": (FindBlobs(blobs=[BlobReference("..", 5)]), "blob.sha256"),
    "too many": (FindBlobs(blobs=[UNKNOWN] * (MAX_BLOBS_PER_QUERY + 1)), "blobs"),
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_breaks_the_contract_is_refused_and_leaves_nothing(
    storage: Storage, tmp_path: Path, name: str
) -> None:
    query, field = BAD[name]
    error = storage.query(query).error
    assert error is not None
    assert issubclass(InvalidRequest, StorageError)
    assert (error.code, error.field) in {("invalid_request", field), ("too_large", field)}
    assert not (tmp_path / "blobs").exists()
