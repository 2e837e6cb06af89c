"""What counts as taken: only what RabbitMQ has confirmed; and nothing hangs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.queues import QUORUM_ARGUMENTS
from api_client.transport import amqp_publisher
from api_client.transport.amqp_publisher import AmqpPublisher
from tests.faults.processes import pause_processes
from tests.rabbitmq.conftest import VirtualHost
from tests.support.waiting import wait_until

QUEUE = codec.WRITE_QUEUE


@pytest.fixture
def publisher(host: VirtualHost) -> Iterator[AmqpPublisher]:
    opened = AmqpPublisher(host.url)
    yield opened
    opened.close()


def publish(publisher: AmqpPublisher, body: bytes = b"{}") -> None:
    publisher.publish(QUEUE, "id", body, headers={}, expires=None)


def taken(host: VirtualHost) -> list[Any]:
    """The messages in the queue, which they leave."""
    found = []
    with Connection(host.url) as connection:
        channel: Any = connection.default_channel
        while (message := channel.basic_get(QUEUE, no_ack=True)) is not None:
            found.append(message)
    return found


def test_a_message_is_what_celery_would_send_and_survives_the_broker(
    host: VirtualHost, publisher: AmqpPublisher
) -> None:
    # Given a queue that has been there for a while: RabbitMQ notes a new one a moment later than it
    # says, and a crash in that moment takes the queue along (docs/rabbitmq.md).
    publish(publisher)
    host.server.stop()
    host.server.start()
    taken(host)
    # When a message is confirmed and the server crashes, then it is there.
    publisher.publish(QUEUE, "id", b'{"a":1}', headers=codec.own_headers(2, []), expires=5.0)
    host.server.kill()
    host.server.start()
    wait_until(lambda: host.server.counts(host.name, QUEUE) == (1, 0), "the queue is there")
    (message,) = taken(host)
    assert message.body == '[[{"a":1}],{},{}]'
    assert message.properties["delivery_mode"] == 2
    assert message.properties["correlation_id"] == "id"
    assert message.headers["task"] == codec.WRITE_TASK
    assert message.headers[codec.TRY_HEADER] == 2
    assert message.headers["expires"]


def test_the_queue_is_a_quorum_queue_that_drops_nothing(
    host: VirtualHost, publisher: AmqpPublisher
) -> None:
    publish(publisher)
    queue = host.call("GET", "queues", QUEUE)
    assert queue["arguments"] == QUORUM_ARGUMENTS
    assert (queue["type"], queue["durable"]) == ("quorum", True)


def test_a_queue_that_is_full_refuses(host: VirtualHost, publisher: AmqpPublisher) -> None:
    policy = {"pattern": ".*", "definition": {"max-length": 1}, "apply-to": "queues"}
    host.call("PUT", "policies", "short", policy)

    def is_full() -> bool:
        # What was confirmed before it was counted may be more than fits.
        try:
            publish(publisher)
        except Unavailable:
            return True
        return False

    wait_until(is_full, "a message is refused")
    assert taken(host)
    publish(publisher)


def test_a_queue_that_is_gone_refuses_and_is_made_anew(
    host: VirtualHost, publisher: AmqpPublisher
) -> None:
    publish(publisher)
    host.call("DELETE", "queues", QUEUE)
    with pytest.raises(Unavailable, match="NO_ROUTE"):
        publish(publisher)
    publish(publisher)
    assert len(taken(host)) == 1


def test_a_queue_of_another_type_is_named(host: VirtualHost, publisher: AmqpPublisher) -> None:
    host.call("PUT", "queues", QUEUE, {"durable": True})
    with pytest.raises(Unavailable, match=r"inequivalent arg 'x-.*storage\.write"):
        publish(publisher)


def test_a_connection_that_was_closed_meanwhile_is_replaced_at_once(
    host: VirtualHost, publisher: AmqpPublisher
) -> None:
    publish(publisher)
    wait_until(lambda: host.server.call("GET", "connections"), "the connection is listed")
    host.server.close_connections()
    publish(publisher)
    assert len(taken(host)) == 2


def test_an_alarm_refuses_without_a_wait_until_it_is_over(
    host: VirtualHost, publisher: AmqpPublisher
) -> None:
    publish(publisher)
    host.server.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="has an alarm"):
                publish(publisher)
    finally:
        host.server.control("set_vm_memory_high_watermark", "0.4")

    def takes() -> bool:
        try:
            publish(publisher)
        except Unavailable:
            return False
        return True

    wait_until(takes, "the alarm is over")


def test_a_broker_that_hangs_is_not_waited_for(
    host: VirtualHost, publisher: AmqpPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_publisher, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(amqp_publisher, "_CONNECT_SECONDS", 0.5)
    publish(publisher)
    pause_processes([host.server.pid], signal.SIGSTOP)
    try:
        # Over the connection that there is, and over a new one.
        for _ in range(2):
            with pytest.raises(Unavailable, match="has not taken"):
                publish(publisher)
        publisher.close()
    finally:
        pause_processes([host.server.pid], signal.SIGCONT)
    publish(publisher)


def test_a_wrong_password_is_told_and_not_shown(host: VirtualHost) -> None:
    wrong = AmqpPublisher(host.url.replace("guest:guest", "guest:secret-word"))
    with pytest.raises(Unavailable, match="ACCESS_REFUSED") as caught:
        publish(wrong)
    assert "secret-word" not in str(caught.value)


def test_of_several_hosts_the_one_that_answers_is_used(host: VirtualHost) -> None:
    nobody = "amqp://guest:guest@127.0.0.1:1/"
    publisher = AmqpPublisher(f"{nobody};{host.url}")
    publish(publisher)
    publisher.close()
    assert len(taken(host)) == 1
