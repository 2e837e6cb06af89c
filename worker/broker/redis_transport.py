"""kombu's transports, taught to take anything that may lie on a queue without harm.

An item of a Redis list that is not a message makes kombu's event loop, and with it the worker,
end after the item has left the list (``kombu/transport/redis.py``, ``_brpop_read``). And kombu
decompresses a body by its header before anybody could look at it, however large it becomes
(``kombu/message.py``).
"""

from __future__ import annotations

import contextlib
import logging
from queue import Empty
from typing import Any

import kombu.compression
from kombu.asynchronous import get_event_loop
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from api_client.contract import codec
from worker.broker import gate
from worker.broker.gathering import MOST_BYTES, MOST_MESSAGES
from worker.broker.unacked import Unacked

log = logging.getLogger(__name__)

# A Redis that refuses to write, because its memory or disk is full or it has become a replica, is
# trouble that passes; by default it ends the worker (as an "unrecoverable error", with code 0).
_TROUBLE = (*kombu_redis.Transport.connection_errors, ResponseError)


class _QoS(kombu_redis.QoS):
    """Keeps track of what was delivered and not acknowledged.

    Queries are not recorded in Redis: whoever asked and gets no answer asks again. Of small
    messages more are taken in advance than Celery asks for: they are applied together
    (`worker.broker.gathering`), and do not keep others from working.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        channel: Any = self.channel
        self._unacked = Unacked(
            lambda: channel.pool, self.unacked_key, self.unacked_index_key, self._not_recorded
        )
        #: Delivered, and not in Redis.
        self._unrecorded: set[str] = set()
        #: Bytes of what is delivered and not acknowledged; a query counts like what is not small.
        self._sizes: dict[str, int] = {}

    def can_consume(self) -> bool:
        """Whether another message may be taken."""
        if super().can_consume():
            return True
        return len(self._sizes) < MOST_MESSAGES and sum(self._sizes.values()) < MOST_BYTES

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a delivery."""
        virtual.QoS.append(self, message, delivery_tag)
        queue = message.delivery_info["routing_key"]
        if queue == codec.READ_QUEUE:
            self._sizes[delivery_tag] = MOST_BYTES
            self._unrecorded.add(delivery_tag)
        else:
            self._sizes[delivery_tag] = len(message.body or b"")
            self._unacked.record(delivery_tag, message._raw, queue)
            self._record_soon()

    def ack(self, delivery_tag: str) -> None:
        """Forget a delivery."""
        self._sizes.pop(delivery_tag, None)
        if delivery_tag in self._unrecorded:
            self._unrecorded.remove(delivery_tag)
        else:
            self._unacked.forget(delivery_tag)
            self._record_soon()
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget it, and put the message back into its list, if it is to be done again."""
        if not requeue:
            self.ack(delivery_tag)
            return
        self._settle()
        self._sizes.pop(delivery_tag, None)
        if delivery_tag in self._unrecorded:
            self._put_back(delivery_tag)
            self._unrecorded.remove(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().reject(delivery_tag, requeue)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Record what was acknowledged last, and then do as kombu does at the end."""
        with contextlib.suppress(*_TROUBLE):
            self._settle()
        super().restore_unacked_once(stderr)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what was not begun when the worker ends or has lost its connection."""
        with contextlib.suppress(*_TROUBLE):
            self._settle()
        self._unacked.close()
        for tag in self._unrecorded:
            # Without a connection it is gone, and whoever sent it sends it again.
            with contextlib.suppress(*_TROUBLE):
                self._put_back(tag)
        self._unrecorded.clear()
        self._sizes.clear()
        super().restore_unacked(client)

    def _record_soon(self) -> None:
        """Send what is to be recorded once the message has been handed on."""
        loop = get_event_loop()
        if loop is None:
            self._unacked.flush()
        else:
            # Not call_soon: what is called soon by something that is called soon waits for the
            # next event.
            loop.call_later(0, self._record)

    def _record(self) -> None:
        if self._unacked.waiting:
            self._unacked.flush()

    def _settle(self) -> None:
        """Wait until it is known what is recorded."""
        self._record()
        self._unacked.drain()

    def _not_recorded(self, delivery_tag: str, error: ResponseError) -> None:
        """Note a delivery that Redis has no memory to record. The message has left its list, so
        the only way to keep it is to go on with it; should this worker die meanwhile, the outbox
        sends it again."""
        log.warning("a delivery cannot be recorded by the broker", extra={"error": error})
        if delivery_tag in self._sizes:
            self._unrecorded.add(delivery_tag)

    def _put_back(self, delivery_tag: str) -> None:
        virtual.Channel._restore(self.channel, self.get(delivery_tag))


class _Checking:
    """A channel that hands out what kombu can take, whatever it has popped."""

    def _brpop_read(self, **options: Any) -> bool:
        """Deliver the item that was asked for. As kombu's own, but for how it is read."""
        channel: Any = self
        try:
            connection = channel.client.connection
            try:
                popped = channel.client.parse_response(connection, "BRPOP", **options)
            except channel.connection_errors:
                # The next one connects again.
                connection.disconnect()
                raise
            if not popped:
                raise Empty
            name, item = popped
            queue = name.decode().partition(kombu_redis.Channel.sep)[0]
            channel._queue_cycle.rotate(queue)
            channel.connection._deliver(_payload(item, queue), queue)
            return True
        finally:
            channel._in_poll = None
            channel._flush_brpop_reauth()


def _payload(item: bytes, queue: str) -> dict[str, Any]:
    try:
        return gate.clean_item(item, queue)
    except gate.BadItem as fault:
        log.warning("an item is refused", extra={"bytes": len(item), "reason": str(fault)})
        return gate.wrapped_item(item, str(fault), queue)


class _Channel(_Checking, kombu_redis.Channel):
    QoS = _QoS


class Transport(kombu_redis.Transport):
    """kombu's transport for Redis, with channels that check."""

    Channel = _Channel
    connection_errors = _TROUBLE


def harden() -> None:
    """Have all broker connections that this process will open use the transports above, and
    decompress nothing."""
    plain = f"{__name__}:{Transport.__name__}"
    # The table that URL schemes are looked up in; there is no other way to replace a transport
    # without inventing a scheme.
    TRANSPORT_ALIASES.update(redis=plain, rediss=plain)
    bounded = "worker.broker.rabbitmq_transport:Transport"
    TRANSPORT_ALIASES.update(
        amqp=bounded, pyamqp=bounded, amqps="worker.broker.rabbitmq_transport:SSLTransport"
    )
    # kombu then notes an error in the message, which goes the way of the undecodable.
    decoders: dict[str, Any] = vars(kombu.compression)["_decoders"]
    decoders.clear()
