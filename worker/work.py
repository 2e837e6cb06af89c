"""Messages on their way through a worker, decoded operation by operation. Pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from api_client.contract import codec
from api_client.contract.checks import check_count
from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, TooLarge, to_record
from api_client.contract.limits import MAX_EVENTS_PER_MESSAGE
from api_client.contract.operations import (
    DeleteArtifact,
    DiscardDeadLetter,
    SaveArtifact,
    WriteOperation,
)
from api_client.contract.outcomes import Outcome
from worker.artifacts import evaluate as artifact_rules
from worker.logs.masking import describe
from worker.sessions import evaluate as session_rules
from worker.sessions.evaluate import DecodedAppend

log = logging.getLogger(__name__)

#: A decoded operation, or its error in its place.
Decoded = session_rules.Decoded | artifact_rules.Decoded | DiscardDeadLetter | StorageError


@dataclass
class Work:
    """A message on its way.

    Attributes:
        decoded: its operations, each a `SaveArtifact`, something `Decoded`, or its error.
        saves: those that bring bytes.
        missing: hashes of staged bytes that are not there.
    """

    message: Message
    decoded: list[Any] = field(default_factory=list)
    saves: list[SaveArtifact] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, message: Message) -> Work:
        """The work that ``message`` asks for; what cannot be decoded is an error in its place."""
        work = cls(message, [decode(raw) for raw in message.operations])
        _limit_events(work.decoded)
        work.saves = [found for found in work.decoded if isinstance(found, SaveArtifact)]
        return work


def decode(raw: msgspec.Raw | bytes) -> Any:
    """One operation, read and checked, or its error."""
    try:
        return _decode(codec.decode_operation(raw))
    except StorageError as error:
        return error
    except Exception as error:
        return unexpected(error)


def unexpected(error: Exception) -> StorageError:
    """What an operation gets that met a fault of ours; the log has the details."""
    log.exception("an operation cannot be applied")
    return StorageError(f"the operation cannot be applied: {describe(error)}")


def outcome(result: Any) -> Outcome:
    """The outcome of a result or an error."""
    if isinstance(result, StorageError):
        return Outcome(error=to_record(result))
    return Outcome(ok=msgspec.Raw(codec.encode(result)))


def unique(messages: Sequence[Message]) -> dict[str, Work]:
    """The work of each message, by id; of two with one id, that of the first."""
    works: dict[str, Work] = {}
    for message in messages:
        if message.id not in works:
            works[message.id] = Work.of(message)
    return works


def _limit_events(decoded: list[Any]) -> None:
    """Refuse the appends beyond what one transaction may write."""
    events = 0
    for position, operation in enumerate(decoded):
        if isinstance(operation, DecodedAppend):
            events += len(operation.events)
            if events > MAX_EVENTS_PER_MESSAGE:
                decoded[position] = TooLarge(
                    f"the message has more than {MAX_EVENTS_PER_MESSAGE:,} events; send the rest "
                    "in another one",
                    field="operations",
                    limit=MAX_EVENTS_PER_MESSAGE,
                )


def _decode(operation: WriteOperation) -> Any:
    if isinstance(operation, (SaveArtifact, DeleteArtifact)):
        artifact_rules.check(operation)
        return operation
    if isinstance(operation, DiscardDeadLetter):
        codec.check_message_id(operation.message_id)
        check_count(operation.position, "position")
        return operation
    return session_rules.decode(operation)
