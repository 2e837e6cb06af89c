"""What a broker holds: the same questions to Redis and to RabbitMQ."""

from __future__ import annotations

from typing import Any, Protocol

import amqp
from kombu import Connection
from redis import Redis

from tests.support.rabbitmq import RabbitMQServer


class Queues(Protocol):
    """Tells what waits in queues."""

    def counts(self, queue: str) -> tuple[int, int]:
        """How many messages of a queue wait, and how many are in somebody's hands. Redis tells the
        latter for all queues together, and RabbitMQ with a delay of some tenths of a second."""

    def put(self, queue: str, garbage: bytes) -> None:
        """Put bytes into a queue that are no message of ours."""


class RedisQueues:
    """The queues of a Redis.

    Parameters:
        url: of the broker.
    """

    def __init__(self, url: str):
        self._url = url

    def counts(self, queue: str) -> tuple[int, int]:
        """See `Queues.counts`."""
        with Redis.from_url(self._url) as redis:
            return redis.llen(queue), redis.hlen("unacked")

    def put(self, queue: str, garbage: bytes) -> None:
        """See `Queues.put`."""
        with Redis.from_url(self._url) as redis:
            redis.lpush(queue, garbage)


class RabbitMQQueues:
    """The queues of a virtual host of a RabbitMQ."""

    def __init__(self, server: RabbitMQServer, virtual_host: str):
        self._server = server
        self._virtual_host = virtual_host

    def counts(self, queue: str) -> tuple[int, int]:
        """See `Queues.counts`."""
        return self._server.counts(self._virtual_host, queue)

    def put(self, queue: str, garbage: bytes) -> None:
        """See `Queues.put`."""
        with Connection(self._server.url(self._virtual_host)) as connection:
            channel: Any = connection.default_channel
            channel.basic_publish(amqp.Message(garbage), routing_key=queue)
