"""Celery's consumer, with the gate in front of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer
from kombu import Message

from api_client.contract import codec
from worker import gate

log = logging.getLogger(__name__)

_CLOSE_TRIES = 20
_CLOSE_PAUSE = 0.1


class GuardedConsumer(Consumer):
    """Hands on what the gate lets through, and has the rest buried.

    A refused message stays unacknowledged until its dead letter is committed: it is rewritten
    in place, and goes through the pool like any other.
    """

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Message], None]:
        """The function that takes each message."""
        self._hand_on = super().create_task_handler(*arguments, **options)
        return self._take

    def on_close(self) -> None:
        """Clear what a lost connection has left behind.

        A pool process that has died at the same moment may not have left its place yet; Celery
        does not wait for that (``asynpool.py``, ``get_process_queues``), and the worker would end.
        """
        for _ in range(_CLOSE_TRIES):
            try:
                super().on_close()
            except StopIteration:
                log.warning("the pool cannot be filled up yet, trying again")
                time.sleep(_CLOSE_PAUSE)
            else:
                return
        super().on_close()

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Bury what kombu could not decode."""
        if message.headers.get("compression"):
            self._bury(message, "a compressed body is not allowed")
        else:
            self._bury(message, f"it cannot be decoded: {type(exc).__name__}: {exc}")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Bury what Celery finds wrong although the gate did not."""
        self._bury(message, f"it is not a valid task: {exc}")

    def _take(self, message: Message) -> None:
        try:
            fault = gate.message_fault(message.headers, message.content_type, _bytes(message))
        except Exception as error:
            log.exception("a message could not be examined")
            fault = f"it cannot be examined: {type(error).__name__}: {error}"
        if fault is not None:
            self._bury(message, fault)
            return
        message.headers = gate.clean_headers(message.headers)
        message.content_encoding = "utf-8"
        self._hand_on(message)

    def _bury(self, message: Message, reason: str) -> None:
        log.warning("a message is refused: %s", reason)
        refused = gate.refused(message.headers, _bytes(message), reason, message.delivery_tag)
        rewritten: Any = message
        rewritten.headers, rewritten.body = gate.bury_call(refused)
        rewritten.content_type, rewritten.content_encoding = codec.BODY_CONTENT_TYPE, "utf-8"
        rewritten.errors = []
        rewritten._decoded_cache = None
        self._hand_on(message)


def _bytes(message: Message) -> bytes:
    body = message.body
    return body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body or b"")
