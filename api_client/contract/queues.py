"""The two queues as RabbitMQ keeps them. It refuses a declaration with other arguments than the
first, so client and worker take them from here."""

from typing import Any, Final

#: How URLs of Redis begin.
REDIS_SCHEMES: Final = ("redis://", "rediss://")
#: How URLs of RabbitMQ begin.
AMQP_SCHEMES: Final = ("amqp://", "amqps://", "pyamqp://")

#: Of a durable queue (https://www.rabbitmq.com/docs/quorum-queues).
QUORUM_ARGUMENTS: Final[dict[str, Any]] = {
    # Kept in a log that is fsynced, and copied where there is a cluster.
    "x-queue-type": "quorum",
    # Since 4.0 a message that has come back 20 times is dropped, which an outage of the database
    # would do within minutes. The workers count tries by themselves, and keep what they give up.
    # -1 would mean "never", but releases before 4.0 refuse it.
    "x-delivery-limit": 2**31 - 1,
    # A queue whose length an operator has limited refuses what does not fit, so that it stays with
    # its publisher, instead of dropping the oldest.
    "x-overflow": "reject-publish",
}


def is_amqp(broker_url: str) -> bool:
    """Whether a broker is reached by AMQP."""
    return broker_url.startswith(AMQP_SCHEMES)
