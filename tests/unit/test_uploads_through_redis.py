"""The client's part of an upload through Redis, against a worker's code that answers at once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fakeredis
import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.operations import BlobReference, FindBlobs, PutPart, Query
from api_client.contract.outcomes import QueryReply
from api_client.contract.staging import CHUNK_BYTES, PART_BYTES
from api_client.transport import uploads as module
from api_client.transport.base import BlobFile
from api_client.transport.questions import Questions
from api_client.transport.staging import RedisStager
from api_client.transport.uploads import Uploads
from worker.artifacts.blobs import MemoryBlobStore
from worker.artifacts.intake import Intake
from worker.artifacts.parts import find_blobs, put_part
from worker.artifacts.staging import RedisStaging

PATIENCE = 30.0
COUNT = 7
DATA = b"".join(bytes([n]) * PART_BYTES for n in range(COUNT - 1)) + b"the rest"
LARGE = BlobReference(hashlib.sha256(DATA).hexdigest(), len(DATA))
SMALL_DATA = b"small" * CHUNK_BYTES
SMALL = BlobReference(hashlib.sha256(SMALL_DATA).hexdigest(), len(SMALL_DATA))


@dataclass
class Worker:
    """Answers queries, unless something else shall happen to them.

    Attributes:
        asked: the queries that reached it.
        most_staged: bytes that were in Redis at once, at most.
        held: those that wait for `release`, where ``holding``.
        mishap: called with each query first; True if it is lost.
    """

    redis: fakeredis.FakeRedis
    store: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    asked: list[Query] = field(default_factory=list)
    most_staged: int = 0
    holding: bool = False
    held: list[tuple[str, bytes]] = field(default_factory=list)
    mishap: Callable[[Query], bool] = lambda query: False
    questions: Questions = field(init=False)

    def __post_init__(self) -> None:
        self.questions = Questions(self.send, lambda _: None)

    def send(self, question_id: str, body: bytes, expires: float) -> None:
        """Take a question."""
        staged = sum(self.redis.strlen(key) for key in self.redis.scan_iter())
        self.most_staged = max(self.most_staged, staged)
        query = codec.decode_query(body)
        self.asked.append(query)
        if self.mishap(query):
            return
        if self.holding and isinstance(query, PutPart):
            self.held.append((question_id, body))
            if len(self.held) == 4 or query.index == COUNT - 1:
                threading.Thread(target=self.release).start()
        else:
            self.answer(question_id, body)

    def release(self) -> None:
        """Answer what is held, the last first."""
        while self.held:
            self.answer(*self.held.pop())

    def answer(self, question_id: str, body: bytes) -> None:
        """Do as a worker does."""
        query = codec.decode_query(body)
        intake = Intake(self.store, RedisStaging(self.redis))
        if isinstance(query, FindBlobs):
            found: object = find_blobs(intake, query.blobs)
        else:
            assert isinstance(query, PutPart)
            found = put_part(intake, query)
        self.questions.answered(question_id, QueryReply(ok=msgspec.Raw(codec.encode(found))))

    @property
    def parts(self) -> list[int]:
        """The parts handed over, in order."""
        return [query.index for query in self.asked if isinstance(query, PutPart)]


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def worker(redis: fakeredis.FakeRedis) -> Worker:
    return Worker(redis)


@pytest.fixture
def uploads(redis: fakeredis.FakeRedis, worker: Worker) -> Uploads:
    return Uploads(RedisStager(redis), worker.questions)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHORT_WAIT", 0.01)
    monkeypatch.setattr(module, "_REPEAT_AFTER", 0.02)
    monkeypatch.setattr(module, "_GIVE_UP_AFTER", 0.2)


@pytest.fixture
def large(tmp_path: Path) -> BlobFile:
    (tmp_path / "1").write_bytes(DATA)
    return BlobFile(tmp_path / "1", LARGE)


@pytest.fixture
def small(tmp_path: Path) -> BlobFile:
    (tmp_path / "2").write_bytes(SMALL_DATA)
    return BlobFile(tmp_path / "2", SMALL)


def whole(worker: Worker) -> bool:
    return worker.store.uploads.finish(LARGE) and worker.store.read(LARGE.sha256, 0, 2**40) == DATA


def test_a_large_file_never_fills_redis(
    uploads: Uploads, worker: Worker, large: BlobFile, redis: fakeredis.FakeRedis
) -> None:
    worker.holding = True
    uploads.stage([large], missed=False)
    assert worker.parts == [*range(COUNT)]
    assert worker.most_staged == 4 * PART_BYTES
    assert redis.keys() == []
    assert whole(worker)


def test_what_a_worker_has_is_not_sent(
    uploads: Uploads, worker: Worker, large: BlobFile, small: BlobFile, redis: fakeredis.FakeRedis
) -> None:
    worker.store.put(LARGE.sha256, LARGE.size, [DATA])
    worker.store.put(SMALL.sha256, SMALL.size, [SMALL_DATA])
    uploads.stage([small, large], missed=False)
    assert worker.parts == []
    assert worker.most_staged == 0
    assert redis.keys() == []


def test_only_the_missing_of_several_is_staged(
    uploads: Uploads, worker: Worker, small: BlobFile, tmp_path: Path, redis: fakeredis.FakeRedis
) -> None:
    (tmp_path / "3").write_bytes(b"other")
    other = BlobFile(tmp_path / "3", BlobReference(hashlib.sha256(b"other").hexdigest(), 5))
    worker.store.put(SMALL.sha256, SMALL.size, [SMALL_DATA])
    uploads.stage([small, other], missed=False)
    assert [*redis.keys()] == [f"zdk:staged:{other.reference.sha256}:0".encode()]


def test_an_upload_that_was_interrupted_goes_on(
    uploads: Uploads, worker: Worker, large: BlobFile
) -> None:
    for index in (0, 1, 2, 5):
        worker.store.uploads.put(LARGE, index, [DATA[index * PART_BYTES :][:PART_BYTES]])
    uploads.stage([large], missed=False)
    assert worker.parts == [3, 4, 6]
    assert whole(worker)


@pytest.mark.usefixtures("impatient")
def test_without_a_worker_small_files_wait_in_redis_and_it_is_not_asked_each_time(
    uploads: Uploads, worker: Worker, small: BlobFile, redis: fakeredis.FakeRedis
) -> None:
    worker.mishap = lambda query: True
    for _ in range(3):
        uploads.stage([small], missed=False)
    assert len(redis.keys()) == 5
    assert len(worker.asked) == 1


@pytest.mark.usefixtures("impatient")
def test_without_a_worker_a_large_file_waits_beside_the_outbox(
    uploads: Uploads, worker: Worker, large: BlobFile, redis: fakeredis.FakeRedis
) -> None:
    worker.mishap = lambda query: True
    with pytest.raises(Unavailable, match="no worker answers"):
        uploads.stage([large], missed=False)
    assert redis.keys() == []
    worker.mishap = lambda query: False
    uploads.stage([large], missed=False)
    assert whole(worker)


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_goes_away_in_the_middle_keeps_the_rest_for_later(
    uploads: Uploads, worker: Worker, large: BlobFile
) -> None:
    worker.mishap = lambda query: len(worker.parts) > 3
    with pytest.raises(Unavailable, match="does not reach a worker"):
        uploads.stage([large], missed=False)
    assert worker.store.uploads.parts(LARGE) == [0, 1, 2]
    worker.mishap = lambda query: False
    worker.asked.clear()
    uploads.stage([large], missed=False)
    assert worker.parts == [3, 4, 5, 6]
    assert whole(worker)


@pytest.mark.usefixtures("impatient")
def test_a_query_that_was_lost_is_repeated(
    uploads: Uploads, worker: Worker, large: BlobFile, redis: fakeredis.FakeRedis
) -> None:
    lost: set[int] = set()

    def once(query: Query) -> bool:
        if isinstance(query, PutPart) and query.index not in lost:
            lost.add(query.index)
            return True
        return False

    worker.mishap = once
    uploads.stage([large], missed=False)
    assert lost == {*range(COUNT)}
    assert redis.keys() == []
    assert whole(worker)


@pytest.mark.parametrize("how", ["flushed", "evicted", "wrong"])
def test_a_part_whose_bytes_were_lost_in_redis_is_staged_again(
    uploads: Uploads, worker: Worker, large: BlobFile, redis: fakeredis.FakeRedis, how: str
) -> None:
    spoilt: set[int] = set()

    def spoil(query: Query) -> bool:
        if isinstance(query, PutPart) and query.index not in spoilt:
            spoilt.add(query.index)
            key = f"zdk:staged:{query.part.sha256}:0"
            if how == "flushed":
                redis.flushall()
            elif how == "evicted":
                redis.delete(key)
            else:
                redis.set(key, b"wrong")
        return False

    worker.mishap = spoil
    uploads.stage([large], missed=False)
    assert sorted(worker.parts) == sorted([*range(COUNT)] * 2)
    assert whole(worker)


def test_two_clients_may_send_the_same_at_once(
    worker: Worker, redis: fakeredis.FakeRedis, large: BlobFile
) -> None:
    together = threading.Barrier(2)
    failures: list[BaseException] = []

    def send() -> None:
        together.wait(PATIENCE)
        try:
            Uploads(RedisStager(redis), worker.questions).stage([large], missed=False)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert whole(worker)


@pytest.mark.parametrize("content", [DATA[:-1] + b"?", DATA[:-1], b""])
def test_a_copy_that_was_damaged_is_not_sent_for_ever(
    uploads: Uploads, worker: Worker, large: BlobFile, content: bytes
) -> None:
    large.path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"1 is damaged"):
        uploads.stage([large], missed=True)
    assert worker.parts == []


def test_closing_ends_an_upload(uploads: Uploads, worker: Worker, large: BlobFile) -> None:
    def close(query: Query) -> bool:
        if isinstance(query, PutPart):
            worker.questions.close()
        return isinstance(query, PutPart)

    worker.mishap = close
    with pytest.raises(Unavailable, match="closed"):
        uploads.stage([large], missed=False)
    with pytest.raises(Unavailable, match="closed"):
        uploads.stage([large], missed=False)
