"""Makes entries and messages again of what a former client has left in a home."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest
from api_client.contract.events import decode_event
from api_client.contract.operations import AppendEvents, SaveArtifact, WriteOperation
from api_client.contract.ordering import OrderingKey, ordering_keys
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import Home
from api_client.outbox.journal import StoredOperation

log = logging.getLogger(__name__)


@dataclass
class Restored:
    """What goes on: messages that were on their way, and entries that were not packed yet."""

    dispatches: list[Dispatch] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    operations: int = 0
    bytes: int = 0


def restore(home: Home, stored: Sequence[StoredOperation]) -> Restored:
    """What to go on with in ``home``.

    A message goes out with the same operations under the same id, or not at all: what this
    release cannot read stays in the journal, with a line in the log. The entries have no places
    in the schedule yet.

    Parameters:
        stored: the operations found, in the order of issue.
    """
    home.spool.keep_only({operation.id for operation in stored})
    home.open = len(stored)
    restored = Restored()
    entries: dict[int, Entry] = {}
    for operation in stored:
        try:
            entries[operation.id] = _entry(home, operation)
        except InvalidRequest as error:
            log.error("operation %d of a former client cannot be read: %s", operation.id, error)
    packed = [operation for operation in stored if operation.message_id is not None]
    packed.sort(key=lambda operation: (operation.message_id, operation.id))
    for message_id, group in groupby(packed, key=lambda operation: operation.message_id):
        parts = [entries.pop(operation.id, None) for operation in group]
        whole = [part for part in parts if part is not None]
        if message_id is not None and len(whole) == len(parts):
            restored.dispatches.append(Dispatch(message_id, whole))
    restored.waiting = list(entries.values())
    going_on = [e for d in restored.dispatches for e in d.entries] + restored.waiting
    restored.operations = len(going_on)
    restored.bytes = sum(entry.size for entry in going_on)
    return restored


def _entry(home: Home, stored: StoredOperation) -> Entry:
    operation = codec.decode_operation(stored.body)
    entry = Entry(0, _ordering_keys(operation), stored.body, home=home, row=stored.id)
    if isinstance(operation, SaveArtifact) and operation.blob is not None:
        entry.spooled = home.spool.find(stored.id, operation.blob)
    return entry


def _ordering_keys(operation: WriteOperation) -> frozenset[OrderingKey]:
    state_keys: list[str] = []
    if isinstance(operation, AppendEvents):
        for raw in operation.events:
            envelope = decode_event(raw)
            state_keys += [*envelope.state_delta, *envelope.state_delete]
    return ordering_keys(operation, state_keys)
