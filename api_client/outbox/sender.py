"""Hands messages and queries to the transport, in the threads made for that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from api_client.outbox.entries import Dispatch
from api_client.outbox.inquiries import Inquiry
from api_client.outbox.runtime import Runtime
from api_client.transport.base import Transport

log = logging.getLogger(__name__)


class Sender:
    """Sends; what became of it is posted to the pump.

    Parameters:
        transport: who carries messages and queries.
        runtime: where sending runs.
        sent: called in a turn with a message that was handed over.
        not_sent: called in a turn with one that was not, and why.
    """

    def __init__(
        self,
        transport: Transport,
        runtime: Runtime,
        sent: Callable[[Dispatch], None],
        not_sent: Callable[[Dispatch, Exception], None],
    ):
        self._transport = transport
        self._runtime = runtime
        self._sent = sent
        self._not_sent = not_sent

    def send(self, dispatch: Dispatch) -> None:
        """Send a message; its large bytes are staged before."""
        for entry in dispatch.entries:
            if entry.receipt is not None:
                entry.receipt.message_id = dispatch.id
        executor = self._runtime.uploader if dispatch.blobs else self._runtime.sender
        executor.submit(partial(self._send, dispatch))

    def ask(self, inquiry: Inquiry) -> None:
        """Send a query."""
        self._runtime.sender.submit(partial(self._ask, inquiry))

    def _send(self, dispatch: Dispatch) -> None:
        try:
            if dispatch.blobs:
                self._transport.stage(dispatch.blobs, missed=dispatch.missed)
            self._transport.send_message(dispatch.id, dispatch.body, dispatch.traces)
        except Exception as error:
            self._runtime.post(partial(self._not_sent, dispatch, error))
        else:
            self._runtime.post(partial(self._sent, dispatch))

    def _ask(self, inquiry: Inquiry) -> None:
        try:
            left = max(0.0, inquiry.deadline - self._runtime.clock())
            self._transport.send_query(inquiry.id, inquiry.body, left)
        except Exception as error:
            log.info("a query could not be sent and will be sent again: %s", str(error))
