"""What a look at the queues tells."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from kombu import Connection, Queue
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api_client.contract import codec
from api_client.contract.records import new_id
from api_client.transport.publishers import RedisPublisher
from tests.support.waiting import wait_until
from worker.broker.queues import QueueState, issued, open_queues
from worker.embedded.server import free_port
from worker.embedded.valkey import EmbeddedValkey


@pytest.fixture
def url(valkey_server: EmbeddedValkey) -> str:
    made = f"{valkey_server.url.removesuffix('/0')}/9"
    with Redis.from_url(made) as redis:
        redis.flushdb()
    return made


def test_a_broker_without_messages_is_empty(url: str) -> None:
    found = open_queues(url).look()
    assert found.queues == [QueueState("storage.write", 0), QueueState("storage.read", 0)]
    assert found.unacknowledged is not None
    assert (found.unacknowledged.count, found.unacknowledged.oldest) == (0, None)


def test_depth_and_age_of_what_waits(url: str) -> None:
    publisher = RedisPublisher(url)
    _publish(publisher, _id_of(100))
    _publish(publisher, _id_of(50))
    write, read = open_queues(url).look().queues
    assert write.depth == 2
    assert write.oldest is not None
    assert 99 < write.oldest < 130
    assert read == QueueState("storage.read", 0)


def test_lists_of_other_priorities_count(url: str) -> None:
    with Celery(broker=url, set_as_current=False) as app:
        message = {"version": 1, "id": _id_of(70), "operations": []}
        app.send_task("storage.write", [message], queue="storage.write", priority=6)
    write, _ = open_queues(url).look().queues
    assert write.depth == 1
    assert write.oldest is not None
    assert write.oldest > 60


def test_what_is_taken_and_not_acknowledged(url: str) -> None:
    RedisPublisher(url).publish("storage.write", "x", b"{}", headers={}, expires=None)
    with Connection(url) as connection, connection.channel() as channel:
        consumer = connection.Consumer(Queue("storage.write"), channel=channel, accept=["json"])
        taken: list[Any] = []
        consumer.on_message = taken.append
        with consumer:
            wait_until(lambda: _drained(connection) or taken, "the message")
            state = open_queues(url).look()
            assert state.queues[0].depth == 0
            assert state.unacknowledged is not None
            assert state.unacknowledged.count == 1
            assert state.unacknowledged.oldest is not None
            taken[0].ack()


@pytest.mark.parametrize("item", [b"", b"\xff", b"[]", b"{}", b'{"body":1}', b'{"body":"x"}'])
def test_an_item_that_is_no_message_has_no_age(url: str, item: bytes) -> None:
    with Redis.from_url(url) as redis:
        redis.lpush("storage.write", item)
    assert open_queues(url).look().queues[0] == QueueState("storage.write", 1)


def test_a_message_tells_its_time_when_its_task_id_does_not() -> None:
    id_ = _id_of(0)
    body = json.dumps([[{"version": 1, "id": id_, "operations": []}], {}, {}])
    encoded = base64.b64encode(body.encode()).decode()
    item = {"body": encoded, "headers": {"id": str(uuid4())}}
    in_base64 = item | {"properties": {"body_encoding": "base64"}}
    as_text = item | {"body": body, "properties": {}}
    expected = (UUID(id_).int >> 80) / 1000
    assert issued(json.dumps(in_base64).encode()) == issued(json.dumps(as_text).encode())
    assert issued(json.dumps(as_text).encode()) == expected


def test_a_broker_that_is_not_there() -> None:
    with pytest.raises((RedisConnectionError, OSError)):
        open_queues(f"redis://127.0.0.1:{free_port()}/0").look()


def test_other_brokers_tell_the_depth() -> None:
    url = "memory://"
    queues = open_queues(url)
    assert [queue.depth for queue in queues.look().queues] == [0, 0]
    with Connection(url) as connection:
        connection.SimpleQueue("storage.write").put({})
        found = queues.look()
    assert found.queues == [QueueState("storage.write", 1), QueueState("storage.read", 0)]
    assert found.unacknowledged is None
    queues.close()


def _publish(publisher: RedisPublisher, message_id: str) -> None:
    body = codec.encode_message(message_id, [b"{}"])
    task_id = f"{uuid4().hex}.w.{message_id}.1"
    publisher.publish("storage.write", task_id, body, headers={}, expires=None)


def _id_of(seconds_ago: float) -> str:
    """A message id of that age."""
    made = int((time.time() - seconds_ago) * 1000)
    return str(UUID(int=made << 80 | UUID(new_id()).int & (1 << 80) - 1))


def _drained(connection: Any) -> bool:
    try:
        connection.drain_events(timeout=1)
    except TimeoutError:
        return False
    return True
