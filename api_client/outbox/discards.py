"""Tells the worker to forget dead letters that their callers have seen. Best effort."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from api_client.contract.codec import encode_message
from api_client.outbox.runtime import Runtime
from api_client.outbox.seen import SeenFailures
from api_client.transport.base import Transport

log = logging.getLogger(__name__)

#: Messages whose replies, which mean nothing, are still expected by the transport.
_EXPECTED = 20


class Discards:
    """Sends what `SeenFailures` gathers. Used by the pump's turns only.

    Parameters:
        transport: who carries the messages.
        runtime: where sending runs.
    """

    def __init__(self, transport: Transport, runtime: Runtime):
        self._transport = transport
        self._runtime = runtime
        self._seen = SeenFailures()
        self._sent: deque[str] = deque()

    def watch(self, message_id: str, position: int) -> Callable[[], None]:
        """What to call, in any thread, when somebody has seen this operation's error."""
        return partial(self._runtime.post, partial(self._add, message_id, position))

    def turn(self, now: float) -> None:
        """Send what is due."""
        operations = self._seen.take(now)
        if operations:
            message_id = self._runtime.new_id()
            self._sent.append(message_id)
            body = encode_message(message_id, operations)
            self._runtime.sender.submit(partial(self._send, message_id, body))
        # A reply may never come, and what waits for it must not pile up.
        if len(self._sent) > _EXPECTED:
            self._transport.forget(self._sent.popleft())

    def next_due(self) -> float | None:
        """When `turn` will next have something to send, if ever."""
        return self._seen.next_due()

    def close(self) -> None:
        """Send what there is for a last message."""
        self.turn(float("inf"))

    def _add(self, message_id: str, position: int) -> None:
        self._seen.add(message_id, position, self._runtime.clock())

    def _send(self, message_id: str, body: bytes) -> None:
        try:
            self._transport.send_message(message_id, body)
        except Exception as error:
            log.info("dead letters that were seen stay: %s", str(error))
