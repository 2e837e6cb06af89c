"""Sends one message and one query through the queue, and waits for both replies."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeout

from api_client.contract import codec
from api_client.contract.operations import DiscardDeadLetter, MessageStatus
from api_client.contract.outcomes import QueryReply, WriteReply
from api_client.contract.records import new_id


def round_trip(app: Celery, *, timeout: float) -> str:
    """Discard a dead letter that cannot exist, and ask for that message's status.

    Nothing is written but the message's row in the ledger.

    Parameters:
        timeout: seconds for both replies together.

    Raises:
        TimeoutError: no worker has answered in time.
        RuntimeError: the answer is wrong.
    """
    begun = time.monotonic()
    deadline = begun + timeout
    message_id = new_id()
    discard = DiscardDeadLetter(message_id=message_id, position=0)
    body = codec.encode_message(message_id, [codec.encode_operation(discard)])
    reply = codec.decode(_ask(app, codec.WRITE_TASK, body, deadline), WriteReply)
    error = reply.outcomes[0].error if reply.outcomes else reply.error
    if error is not None:
        raise RuntimeError(f"a worker answered a test message with {error}")
    query = codec.encode_query(MessageStatus(message_ids=[message_id]))
    answer = codec.decode(_ask(app, codec.READ_TASK, query, deadline), QueryReply)
    if answer.error is not None:
        raise RuntimeError(f"a worker answered a test query with {answer.error}")
    return f"a worker answered in {(time.monotonic() - begun) * 1000:.0f} ms"


def _ask(app: Celery, task: str, body: bytes, deadline: float) -> bytes:
    left = max(0.0, deadline - time.monotonic())
    # Not for ever: a RabbitMQ with an alarm confirms nothing.
    result: Any = app.send_task(
        task, args=(msgspec.Raw(body),), queue=task, confirm_timeout=left, retry=False
    )
    try:
        return codec.encode(result.get(timeout=left))
    except CeleryTimeout:
        raise TimeoutError("no worker answered in time") from None
    finally:
        result.forget()
