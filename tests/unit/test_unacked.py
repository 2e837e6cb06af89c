"""What a worker records of its deliveries, on a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from kombu import Connection
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from api_client.contract import codec
from tests.support.items import body, create, encoded, item, message
from worker.broker.redis_transport import harden
from worker.broker.unacked import Unacked
from worker.embedded.valkey import EmbeddedValkey

PAYLOAD = {"body": "[[1],{},{}]", "headers": {"id": "x"}, "properties": {"priority": 0}}


class Recorder:
    """An `Unacked`, what lies in Redis, and what Redis has refused."""

    def __init__(self, url: str):
        self.redis = Redis.from_url(url)
        self.refused: list[tuple[str, str]] = []
        self.unacked = Unacked(
            lambda: self.redis.connection_pool,
            "unacked",
            "unacked_index",
            lambda tag, error: self.refused.append((tag, str(error))),
        )

    def settle(self) -> None:
        if self.unacked.waiting:
            self.unacked.flush()
        self.unacked.drain()

    def contents(self) -> dict[str, Any]:
        assert {*self.redis.hkeys("unacked")} == {*self.redis.zrange("unacked_index", 0, -1)}
        found: Any = self.redis.hgetall("unacked")
        return {tag.decode(): msgspec.json.decode(value) for tag, value in found.items()}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One whose settings nobody else depends on."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def recorder(own_server: EmbeddedValkey) -> Iterator[Recorder]:
    found = Recorder(own_server.url)
    yield found
    found.unacked.close()
    found.redis.config_set("maxmemory", 0)
    found.redis.flushall()
    found.redis.close()


def test_a_delivery_lies_where_kombu_looks_for_it(recorder: Recorder) -> None:
    recorder.unacked.record("a", PAYLOAD, 'an "odd" queue')
    recorder.settle()
    assert recorder.contents() == {"a": [PAYLOAD, "", 'an "odd" queue']}


def test_what_is_forgotten_is_gone(recorder: Recorder) -> None:
    for tag in ("a", "b", "c"):
        recorder.unacked.record(tag, PAYLOAD, "q")
    recorder.unacked.forget("b")
    recorder.settle()
    recorder.unacked.forget("a")
    recorder.settle()
    assert [*recorder.contents()] == ["c"]
    assert not recorder.unacked.waiting


def test_thousands_do_not_wait_for_each_other(recorder: Recorder) -> None:
    for number in range(3000):
        recorder.unacked.record(str(number), PAYLOAD, "q")
        recorder.unacked.flush()
    recorder.settle()
    assert len(recorder.contents()) == 3000
    assert recorder.refused == []


def test_one_that_redis_has_no_memory_for_is_told(recorder: Recorder) -> None:
    recorder.unacked.record("before", PAYLOAD, "q")
    recorder.settle()
    recorder.redis.config_set("maxmemory", 1)
    recorder.unacked.record("full", PAYLOAD, "q")
    # To forget needs no memory.
    recorder.unacked.forget("before")
    recorder.settle()
    assert {tag for tag, _ in recorder.refused} == {"full"}
    assert all("maxmemory" in reason for _, reason in recorder.refused)
    assert recorder.contents() == {}


def test_a_lost_connection_is_an_error_and_the_next_one_is_new(recorder: Recorder) -> None:
    recorder.unacked.record("a", PAYLOAD, "q")
    recorder.settle()
    recorder.redis.client_kill_filter(_type="normal", skipme=True)
    recorder.unacked.record("b", PAYLOAD, "q")
    with pytest.raises((RedisError, OSError)):
        recorder.settle()
    recorder.unacked.record("c", PAYLOAD, "q")
    recorder.settle()
    assert {"a", "c"} <= recorder.contents().keys()


def test_it_needs_a_server_that_answers() -> None:
    nowhere = Recorder("redis://127.0.0.1:1/0")
    nowhere.unacked.record("a", PAYLOAD, "q")
    with pytest.raises(RedisError) as refused:
        nowhere.settle()
    assert not isinstance(refused.value, ResponseError)


def test_what_is_acknowledged_is_let_go(recorder: Recorder, own_server: EmbeddedValkey) -> None:
    harden()
    with Connection(own_server.url) as connection:
        channel: Any = connection.default_channel
        for number in range(5):
            good = item(body(message(create(f"s{number}"))))
            recorder.redis.lpush(codec.WRITE_QUEUE, encoded(good))
            channel.basic_get(codec.WRITE_QUEUE).ack()
            # The last one goes when the next comes.
            assert len(channel.qos._delivered) == 1
