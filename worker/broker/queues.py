"""How many messages wait at the broker, and for how long the oldest of them has.

Looking costs the same however many wait. In Redis it is one pipeline: the length of each list and
its last item, which is the next to be taken, and the same of what workers have taken and not
acknowledged (``kombu/transport/redis.py``, ``QoS``). Another broker is asked through kombu.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from amqp.exceptions import ChannelError
from kombu import Connection
from kombu.transport.redis import PRIORITY_STEPS, Channel
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api_client.contract import codec
from worker.broker.redis_transport import harden
from worker.environment.server_urls import is_redis, with_verification
from worker.issued import issued_at

#: The queues that workers take from.
QUEUES = (codec.WRITE_QUEUE, codec.READ_QUEUE)
#: Seconds to wait for a connection, and for an answer.
_SECONDS = 2.0
#: AMQP's code for a queue that is not there.
_NOT_FOUND = "404"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class QueueState(msgspec.Struct, frozen=True):
    """What waits in one queue.

    Attributes:
        name: of the queue.
        depth: messages in it, without those that a worker has taken.
        oldest: seconds since the oldest of them was issued, by the clocks of its client and of
            this machine; None if none waits, or the broker or the message does not tell.
    """

    name: str
    depth: int
    oldest: float | None = None


class UnacknowledgedState(msgspec.Struct, frozen=True):
    """What workers have taken and not acknowledged.

    Attributes:
        count: deliveries of ``storage.write``; queries are not counted (decision 26).
        oldest: seconds since the first of them was delivered; None if there is none.
    """

    count: int
    oldest: float | None = None


class BrokerState(msgspec.Struct, frozen=True):
    """One look at a broker.

    Attributes:
        queues: each of `QUEUES`, in that order.
        unacknowledged: None if the broker does not tell.
    """

    queues: list[QueueState]
    unacknowledged: UnacknowledgedState | None = None


class Queues(Protocol):
    """The queues of a broker. One thread at a time may use it."""

    def look(self) -> BrokerState:
        """What waits now. Takes some four seconds at most, if the broker does not answer.

        Raises:
            Exception: the broker cannot be reached, as its driver says it.
        """

    def close(self) -> None:
        """Let go of the connection."""


def open_queues(broker_url: str) -> Queues:
    """The queues of the broker at a URL. Nothing is connected before the first look.

    Raises:
        ValueError: the URL is malformed.
    """
    if is_redis(broker_url):
        return RedisQueues(broker_url)
    return KombuQueues(broker_url)


class RedisQueues:
    """`Queues` in Redis, with ages.

    Parameters:
        url: ``redis://`` or ``rediss://``.
    """

    def __init__(self, url: str):
        self._redis = Redis.from_url(
            url,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            # For a connection that has gone while it was idle.
            retry=Retry(NoBackoff(), 1),
        )

    def look(self) -> BrokerState:
        """See `Queues.look`."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in QUEUES:
                for key in _lists(name):
                    pipeline.llen(key)
                    pipeline.lindex(key, -1)
            pipeline.zcard(Channel.unacked_index_key)
            pipeline.zrange(Channel.unacked_index_key, 0, 0, withscores=True)
            answers = pipeline.execute()
        now = time.time()
        *lists, count, first = answers
        each = 2 * len(PRIORITY_STEPS)
        queues = [
            _state(name, lists[i * each : (i + 1) * each], now) for i, name in enumerate(QUEUES)
        ]
        oldest = max(0.0, now - first[0][1]) if first else None
        return BrokerState(queues, UnacknowledgedState(count, oldest))

    def close(self) -> None:
        """See `Queues.close`."""
        self._redis.close()


class KombuQueues:
    """`Queues` of RabbitMQ, without ages.

    Parameters:
        url: as Celery takes it.
    """

    def __init__(self, url: str):
        harden()
        self._url = with_verification(url)
        self._connection: Any = None

    def look(self) -> BrokerState:
        """See `Queues.look`. A queue that nobody has declared yet is empty."""
        try:
            if self._connection is None:
                self._connection = Connection(
                    self._url, connect_timeout=_SECONDS, transport_options={"max_retries": 1}
                )
            return BrokerState([QueueState(name, self._depth(name)) for name in QUEUES])
        except BaseException:
            # The next look connects anew.
            self.close()
            raise

    def close(self) -> None:
        """See `Queues.close`."""
        found, self._connection = self._connection, None
        if found is not None:
            with contextlib.suppress(Exception):
                found.release()

    def _depth(self, name: str) -> int:
        # A channel of its own, because AMQP closes one that has asked for what is not there.
        with self._connection.channel() as channel:
            try:
                return int(channel.queue_declare(name, passive=True).message_count)
            except ChannelError as error:
                if str(error.reply_code) != _NOT_FOUND:
                    raise
                return 0


def issued(item: bytes) -> float | None:
    """When the message in an item of a Redis list was issued, in seconds since 1970.

    Our own client's task ids hold the message's or the query's id (docs/wire.md); of others the
    message is read. None if neither tells.
    """
    try:
        found = msgspec.json.decode(item, type=_Item)
        named = _UUID.search(found.headers.id)
        made = None if named is None else issued_at(named.group())
        if made is None:
            argument = codec.decode_body(found.text())[0][0]
            made = issued_at(msgspec.json.decode(argument, type=_Message).id)
    except Exception:
        # Anything may lie in a queue; the gate says what is wrong with it.
        return None
    return None if made is None else made.timestamp()


class _Headers(msgspec.Struct):
    id: str = ""


class _Properties(msgspec.Struct):
    body_encoding: str | None = None


class _Message(msgspec.Struct):
    id: str = ""


class _Item(msgspec.Struct):
    body: str
    headers: _Headers
    properties: _Properties

    def text(self) -> bytes:
        if self.properties.body_encoding == "base64":
            return msgspec.json.decode(b'"%b"' % self.body.encode(), type=bytes)
        return self.body.encode()


def _lists(name: str) -> list[str]:
    """The lists that kombu takes a queue's messages from, one for each step of priority."""
    return [f"{name}{Channel.sep}{step}" if step else name for step in PRIORITY_STEPS]


def _state(name: str, answers: Sequence[Any], now: float) -> QueueState:
    """One queue, by the length and the last item of each of its lists."""
    times = [made for item in answers[1::2] if item is not None and (made := issued(item))]
    oldest = max(0.0, now - min(times)) if times else None
    return QueueState(name, sum(answers[::2]), oldest)
