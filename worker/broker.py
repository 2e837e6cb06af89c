"""kombu's transports, taught to take anything that may lie on a queue without harm.

An item of a Redis list that is not a message makes kombu's event loop, and with it the worker,
end after the item has left the list (``kombu/transport/redis.py``, ``_brpop_read``). And kombu
decompresses a body by its header before anybody could look at it, however large it becomes
(``kombu/message.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import kombu.compression
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from worker import gate

log = logging.getLogger(__name__)


def _checked(parse_response: Callable[..., Any]) -> Callable[..., Any]:
    """Have a Redis client put a well-formed item in the place of one that is not."""

    def parse(connection: Any, command: str, **options: Any) -> Any:
        reply = parse_response(connection, command, **options)
        if command != "BRPOP" or not reply:
            return reply
        name, item = reply
        fault = gate.item_fault(item)
        if fault is None:
            return reply
        log.warning("an item of %d bytes is refused: %s", len(item), fault)
        queue = name.decode().partition(kombu_redis.Channel.sep)[0]
        return name, gate.wrapped_item(item, fault, queue)

    return parse


class _Checking:
    """A channel that checks what it pops."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[misc]
        if asynchronous:
            client.parse_response = _checked(client.parse_response)
        return client


class _Channel(_Checking, kombu_redis.Channel):
    pass


class _SentinelChannel(_Checking, kombu_redis.SentinelChannel):
    pass


class Transport(kombu_redis.Transport):
    """kombu's transport for Redis, with channels that check."""

    Channel = _Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    """The same behind Redis Sentinel."""

    Channel = _SentinelChannel


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
