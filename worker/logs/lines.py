"""One line for each message that was applied, one for each query. Payloads never stand in them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.outcomes import QueryReply, WriteReply
from worker.origin import Origin

log = logging.getLogger(__name__)


def tell_applied(
    messages: Sequence[Message],
    origins: Sequence[Origin],
    replies: Sequence[WriteReply],
    durations: Mapping[str, float],
) -> None:
    """Write a line for each message.

    Parameters:
        messages, origins, replies: of those that were applied together.
        durations: seconds by step, of all of them together; `worker.steps`.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    shared: dict[str, object] = {
        f"{name}_ms": _milliseconds(seconds) for name, seconds in durations.items()
    }
    shared |= {"queue": codec.WRITE_QUEUE, "together": len(messages)}
    for message, origin, reply in zip(messages, origins, replies, strict=True):
        own = {
            "message_id": message.id,
            "client": origin.client,
            "tries": origin.tries,
            "operations": len(message.operations),
            "bytes": sum(map(len, map(bytes, message.operations))),
            "wait_ms": _since_made(message.id, durations.get("total", 0.0)),
        }
        log.info(_verdict(reply), extra=shared | own | _counts(reply))


def tell_answered(
    origin: Origin, operation: str, reply: QueryReply, durations: Mapping[str, float]
) -> None:
    """Write a line for a query, at the level DEBUG."""
    if log.isEnabledFor(logging.DEBUG):
        fields = {
            "client": origin.client,
            "queue": codec.READ_QUEUE,
            "operation": operation,
            "bytes": len(bytes(reply.ok)),
            "total_ms": _milliseconds(durations.get("total", 0.0)),
        }
        failed = {} if reply.error is None else {"code": reply.error.code}
        log.debug("query answered", extra=fields | failed)


def _verdict(reply: WriteReply) -> str:
    if reply.error is not None:
        return "message refused"
    return "message waits for bytes" if reply.missing else "message applied"


def _counts(reply: WriteReply) -> dict[str, object]:
    """How many operations were applied and how many failed, by the codes of their errors."""
    if reply.error is not None:
        return {"code": reply.error.code}
    if reply.missing:
        return {"missing": len(reply.missing)}
    codes = Counter(found.error.code for found in reply.outcomes if found.error is not None)
    failed = codes.total()
    counts: dict[str, object] = {"applied": len(reply.outcomes) - failed, "failed": failed}
    return counts | ({"codes": dict(codes)} if codes else {})


def _since_made(message_id: str, total: float) -> float | None:
    """Milliseconds from when a message was packed, which a UUIDv7 tells, until it was begun, by two
    machines' clocks; None if its id does not tell."""
    made = UUID(message_id)
    if made.version != 7:
        return None
    return round(max(0.0, (time.time() - total) * 1000 - (made.int >> 80)), 1)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
