"""Celery's consumer, with the gate in front of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar

from celery.worker.consumer import Consumer
from kombu import Message

from api_client.contract import codec
from worker.broker import gate
from worker.broker.gathering import Gathering, comes_again, may_gather

log = logging.getLogger(__name__)

#: Celery would declare 28 queues and as many exchanges for messages with a countdown wherever it
#: finds a quorum queue. The gate refuses such messages.
_DELAYED_DELIVERY = "celery.worker.consumer.delayed_delivery:DelayedDelivery"
_CLOSE_TRIES = 20
_CLOSE_PAUSE = 0.1


class GuardedConsumer(Consumer):
    """Hands on what the gate lets through, and has the rest buried.

    A refused message stays unacknowledged until its dead letter is committed: it is rewritten
    in place, and goes through the pool like any other.
    """

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc,valid-type]
        """Celery's, without what is of no use here."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if step != _DELAYED_DELIVERY
        ]

    def create_task_handler(self, *arguments: Any, **options: Any) -> Callable[[Message], None]:
        """The function that takes each message, from a new connection."""
        # What came over the one before will be delivered again.
        self._gathering: Gathering[Any] = Gathering()
        #: Groups that the pool has, by their first message.
        self._groups: set[str] = set()
        self._hand_on = super().create_task_handler(*arguments, **options)
        return self._take

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying again and again. The heart, if the worker has one, beats meanwhile."""
        worker: Any = self.controller  # type: ignore[attr-defined]
        heart = getattr(worker, "heart", None)
        if heart is not None:
            conn.ensure_connection = _beating(conn.ensure_connection, heart.beat)
        return super().ensure_connected(conn)

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
        size = len(message.body or b"")
        if may_gather(message.headers, message.delivery_info, size):
            self._gathering.add(message, size)
            self.call_soon(self._hand_on_gathered)
            return
        if comes_again(message.headers, message.delivery_info):
            # It must not overtake its first copy, which would count as a try that has failed.
            self._hand_on_gathered(all_of_them=True)
        self._hand_on(message)

    def _hand_on_gathered(self, *, all_of_them: bool = False) -> None:
        """Give each process of the pool that has none a group of messages."""
        while self._gathering and (all_of_them or len(self._groups) < self.pool.num_processes):
            self._hand_on(self._grouped(self._gathering.take()))

    def _grouped(self, messages: list[Any]) -> Message:
        """One message in the place of several, which are settled with it."""
        first = messages[0]
        self._groups.add(first.delivery_tag)

        def settling(how: str) -> Callable[..., None]:
            def settle(*arguments: Any, **options: Any) -> None:
                self._groups.discard(first.delivery_tag)
                self.call_soon(self._hand_on_gathered)
                for message in messages:
                    getattr(message, how)(*arguments, **options)

            return settle

        headers, body = first.headers, first.body
        if len(messages) > 1:
            calls = [(message.headers, _bytes(message)) for message in messages]
            headers, body = gate.group_call(calls)
        # Not the first one itself: if it is put back into its queue, it must be as it came.
        carrier: Any = Message(
            body,
            delivery_tag=first.delivery_tag,
            content_type=codec.BODY_CONTENT_TYPE,
            content_encoding="utf-8",
            delivery_info=first.delivery_info,
            headers=headers,
            properties=first.properties,
            channel=first.channel,
        )
        carrier.ack_log_error = settling("ack_log_error")
        carrier.reject_log_error = settling("reject_log_error")
        return carrier  # type: ignore[no-any-return]

    def _bury(self, message: Message, reason: str) -> None:
        log.warning("a message is refused", extra={"reason": reason})
        refused = gate.refused(message.headers, _bytes(message), reason, message.delivery_tag)
        _rewrite(message, *gate.bury_call(refused))
        self._hand_on(message)


def _beating(connect: Callable[..., Any], beat: Callable[[], None]) -> Callable[..., Any]:
    """``connect``, which calls ``beat`` each second between its tries."""

    def ensure_connection(*arguments: Any, callback: Callable[[], None], **options: Any) -> Any:
        def called() -> None:
            beat()
            callback()

        return connect(*arguments, callback=called, **options)

    return ensure_connection


def _rewrite(message: Any, headers: dict[str, Any], body: bytes) -> None:
    message.headers, message.body = headers, body
    message.content_type, message.content_encoding = codec.BODY_CONTENT_TYPE, "utf-8"
    message.errors = []
    message._decoded_cache = None


def _bytes(message: Message) -> bytes:
    body = message.body
    return body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body or b"")
