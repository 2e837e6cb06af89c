"""kombu's transports, taught to take anything that may lie on a queue without harm.

An item of a Redis list that is not a message makes kombu's event loop, and with it the worker,
end after the item has left the list (``kombu/transport/redis.py``, ``_brpop_read``). And kombu
decompresses a body by its header before anybody could look at it, however large it becomes
(``kombu/message.py``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import kombu.compression
from kombu import Message
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from api_client.contract import codec
from worker import gate
from worker.gathering import MOST_BYTES, MOST_MESSAGES

log = logging.getLogger(__name__)

# A Redis that refuses to write, because its memory or disk is full or it has become a replica, is
# trouble that passes; by default it ends the worker (as an "unrecoverable error", with code 0).
_TROUBLE = (*kombu_redis.Transport.connection_errors, ResponseError)


def _checked(parse_response: Callable[..., Any]) -> Callable[..., Any]:
    """Have a Redis client hand out items that kombu can take, whatever it has popped."""

    def parse(connection: Any, command: str, **options: Any) -> Any:
        reply = parse_response(connection, command, **options)
        if command != "BRPOP" or not reply:
            return reply
        name, item = reply
        queue = name.decode().partition(kombu_redis.Channel.sep)[0]
        try:
            return name, gate.clean_item(item, queue)
        except gate.BadItem as fault:
            log.warning("an item of %d bytes is refused: %s", len(item), fault)
            return name, gate.wrapped_item(item, str(fault), queue)

    return parse


class _QoS(kombu_redis.QoS):
    """Keeps track of what was delivered and not acknowledged.

    Queries are not recorded in Redis, which would take two round trips for each: whoever asked
    and gets no answer asks again. Of small messages more are taken in advance than Celery asks for:
    they are applied together (`worker.gathering`), and do not keep others from working.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._unrecorded: set[str] = set()
        #: Bytes of what is delivered; a query counts like what is not small.
        self._sizes: dict[str, int] = {}

    def can_consume(self) -> bool:
        """Whether another message may be taken."""
        if super().can_consume():
            return True
        return len(self._sizes) < MOST_MESSAGES and sum(self._sizes.values()) < MOST_BYTES

    def append(self, message: Message, delivery_tag: str) -> None:
        """Note a delivery, also while Redis has no memory to record it.

        The message has left its list, so the only way to keep it is to go on with it; should
        this worker die meanwhile, the outbox sends it again.
        """
        if message.delivery_info["routing_key"] == codec.READ_QUEUE:
            self._sizes[delivery_tag] = MOST_BYTES
            self._keep(message, delivery_tag)
            return
        self._sizes[delivery_tag] = len(message.body or b"")
        try:
            super().append(message, delivery_tag)
        except ResponseError as error:
            log.warning("a delivery cannot be recorded by the broker: %s", error)
            self._keep(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a delivery."""
        self._sizes.pop(delivery_tag, None)
        if delivery_tag in self._unrecorded:
            self._unrecorded.remove(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget it, and put the message back into its list, if it is to be done again."""
        if delivery_tag in self._unrecorded:
            if requeue:
                self._put_back(delivery_tag)
            self.ack(delivery_tag)
        else:
            self._sizes.pop(delivery_tag, None)
            super().reject(delivery_tag, requeue)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what was not begun when the worker ends or has lost its connection."""
        for tag in self._unrecorded:
            # Without a connection it is gone, and whoever sent it sends it again.
            with contextlib.suppress(*_TROUBLE):
                self._put_back(tag)
        self._unrecorded.clear()
        self._sizes.clear()
        super().restore_unacked(client)

    def _put_back(self, delivery_tag: str) -> None:
        virtual.Channel._restore(self.channel, self.get(delivery_tag))

    def _keep(self, message: Message, delivery_tag: str) -> None:
        self._unrecorded.add(delivery_tag)
        virtual.QoS.append(self, message, delivery_tag)


class _Checking:
    """A channel that checks what it pops."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[misc]
        if asynchronous:
            client.parse_response = _checked(client.parse_response)
        return client


class _Channel(_Checking, kombu_redis.Channel):
    QoS = _QoS


class _SentinelChannel(_Checking, kombu_redis.SentinelChannel):
    QoS = _QoS


class Transport(kombu_redis.Transport):
    """kombu's transport for Redis, with channels that check."""

    Channel = _Channel
    connection_errors = _TROUBLE


class SentinelTransport(kombu_redis.SentinelTransport):
    """The same behind Redis Sentinel."""

    Channel = _SentinelChannel
    connection_errors = _TROUBLE


def harden() -> None:
    """Have all broker connections that this process will open use the transports above, and
    decompress nothing."""
    plain = f"{__name__}:{Transport.__name__}"
    behind_sentinel = f"{__name__}:{SentinelTransport.__name__}"
    # The table that URL schemes are looked up in; there is no other way to replace a transport
    # without inventing a scheme.
    TRANSPORT_ALIASES.update(redis=plain, rediss=plain, sentinel=behind_sentinel)
    # kombu then notes an error in the message, which goes the way of the undecodable.
    decoders: dict[str, Any] = vars(kombu.compression)["_decoders"]
    decoders.clear()
