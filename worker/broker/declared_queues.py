"""The queues that a worker serves, and what RabbitMQ's own rules ask of the settings."""

from __future__ import annotations

from kombu import Exchange, Queue

from api_client.contract.queues import QUORUM_ARGUMENTS, is_amqp
from worker.broker.queues import QUEUES
from worker.settings import Settings

#: Seconds after which RabbitMQ ends a consumer that has not acknowledged a message, unless its
#: ``consumer_timeout`` says otherwise (https://www.rabbitmq.com/docs/consumers).
CONSUMER_SECONDS = 1800


def make_queues(broker_url: str) -> tuple[Queue, ...]:
    """The queues for writes and reads; RabbitMQ's as clients declare them."""
    arguments = QUORUM_ARGUMENTS if is_amqp(broker_url) else None
    return tuple(
        Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments) for name in QUEUES
    )


def unacknowledged_too_long(settings: Settings) -> str | None:
    """What to change if tasks of the longest kind could keep a message in hand for longer than
    RabbitMQ allows; None if all is well.

    A message waits for those that its process has taken before it.
    """
    longest = settings.prefetch * settings.time_limit + settings.shutdown_grace
    if not is_amqp(settings.broker_url) or longest < CONSUMER_SECONDS:
        return None
    return (
        f"a message may be in hand for {longest:.0f} s (ZDK_PREFETCH x ZDK_TIME_LIMIT + "
        f"ZDK_SHUTDOWN_GRACE), but RabbitMQ cuts off who keeps one for {CONSUMER_SECONDS} s: lower "
        "these, or raise its consumer_timeout"
    )
