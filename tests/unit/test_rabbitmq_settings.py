"""What RabbitMQ asks of settings, queues and the client, as far as it needs no server."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import ValidationError

from api_client.contract.queues import QUORUM_ARGUMENTS
from api_client.transport.amqp_publisher import AmqpPublisher
from api_client.transport.celery import CeleryTransport
from worker.app import make_app
from worker.broker.consumer import GuardedConsumer
from worker.broker.declared_queues import make_queues, unacknowledged_too_long
from worker.settings import Settings

RABBITMQ = "amqp://guest:guest@localhost/"
REDIS = "redis://localhost:6379/0"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZDK_")]:
        monkeypatch.delenv(name)


def settings(**values: Any) -> Settings:
    return Settings(**{"broker_url": RABBITMQ, "result_url": REDIS, **values})


def test_results_need_a_redis() -> None:
    with pytest.raises(ValidationError, match="give the Redis for results"):
        Settings(broker_url=RABBITMQ)
    assert settings().results == REDIS
    assert Settings(broker_url=REDIS).results == REDIS


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        (RABBITMQ, QUORUM_ARGUMENTS),
        ("amqps://host/", QUORUM_ARGUMENTS),
        (REDIS, None),
    ],
)
def test_queues_are_quorum_queues_of_rabbitmq_only(url: str, arguments: object) -> None:
    queues: list[Any] = [*make_queues(url)]
    assert [queue.name for queue in queues] == ["storage.write", "storage.read"]
    assert all(queue.queue_arguments == arguments and queue.durable for queue in queues)


def test_the_broker_never_counts_a_message_out() -> None:
    # Twenty times is what RabbitMQ 4 allows by default.
    assert QUORUM_ARGUMENTS["x-delivery-limit"] > 10**9


@pytest.mark.parametrize(
    ("values", "too_long"),
    [
        ({}, False),
        ({"time_limit": 1000}, True),
        ({"prefetch": 10}, True),
        ({"time_limit": 1000, "broker_url": REDIS}, False),
    ],
)
def test_who_may_keep_a_message_for_longer_than_rabbitmq_allows(
    values: dict[str, Any], too_long: bool
) -> None:
    found = unacknowledged_too_long(settings(**values))
    assert (found is not None) is too_long
    if found is not None:
        assert "consumer_timeout" in found
        assert "ZDK_TIME_LIMIT" in found


def test_a_worker_uses_the_careful_transport_and_confirms() -> None:
    app = make_app(settings())
    assert (
        type(app.connection_for_read().transport).__module__ == "worker.broker.rabbitmq_transport"
    )
    assert app.conf.broker_transport_options == {"confirm_publish": True}


def test_a_worker_declares_nothing_for_delayed_messages() -> None:
    steps = GuardedConsumer.Blueprint.default_steps
    assert any("Tasks" in step for step in steps)
    assert not any("DelayedDelivery" in step for step in steps)


def test_a_client_publishes_to_rabbitmq_with_confirmations() -> None:
    transport = CeleryTransport(RABBITMQ, REDIS)
    assert isinstance(transport._publisher, AmqpPublisher)
    transport.close()
