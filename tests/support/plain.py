"""Publishers without our client: plain Celery, as docs/wire.md has it."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from api_client.contract import codec
from api_client.contract.queues import QUORUM_ARGUMENTS, is_amqp


def plain_celery(broker_url: str, result_url: str | None = None) -> Celery:
    """A Celery app that can send our tasks, and nothing of ours but what RabbitMQ asks for.

    Parameters:
        result_url: the Redis for results; the broker if None.
    """
    app = Celery("plain", broker=broker_url, backend=result_url or broker_url)
    if is_amqp(broker_url):
        app.conf.broker_transport_options = {"confirm_publish": True}
        app.conf.task_queues = [
            Queue(name, routing_key=name, queue_arguments=QUORUM_ARGUMENTS)
            for name in (codec.WRITE_QUEUE, codec.READ_QUEUE)
        ]
    return app
