"""Makes entries and messages again of what is in a home's journal."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest
from api_client.contract.operations import AppendEvents, SaveArtifact, WriteOperation
from api_client.contract.ordering import OrderingKey, ordering_keys
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import Home
from api_client.outbox.journal import StoredOperation

log = logging.getLogger(__name__)


@dataclass
class Restored:
    """What goes on, and how much cannot.

    Attributes:
        dispatches: messages that were on their way.
        left_operations, left_bytes: of messages that this release cannot read.
    """

    dispatches: list[Dispatch] = field(default_factory=list)
    left_operations: int = 0
    left_bytes: int = 0


def restore(home: Home) -> Restored:
    """The messages in ``home``.

    A message goes out with the same operations under the same id, or not at all: what this
    release cannot read stays in the journal, with a line in the log. The entries have no places
    in the schedule yet.
    """
    home.spool.keep_only(home.journal.holds)
    restored = Restored()
    for message_id, group in groupby(home.journal.packed(), lambda stored: stored.message_id):
        stored = [*group]
        entries = [entry for one in stored if (entry := read_entry(home, one)) is not None]
        if message_id is not None and len(entries) == len(stored):
            restored.dispatches.append(Dispatch(message_id, entries))
        else:
            restored.left_operations += len(stored)
            restored.left_bytes += sum(len(one.body) for one in stored)
    return restored


def read_entry(home: Home, stored: StoredOperation) -> Entry | None:
    """The entry of a stored operation; None, with a line in the log, if it cannot be read."""
    try:
        operation = codec.decode_operation(stored.body)
        keys = _ordering_keys(operation)
    except InvalidRequest as error:
        log.error("operation %d in %s cannot be read: %s", stored.id, home.journal.name, error)
        return None
    entry = Entry(0, keys, stored.body, home=home, row=stored.id, trace=stored.trace)
    if isinstance(operation, SaveArtifact) and operation.blob is not None:
        entry.spooled = home.spool.find(stored.id, operation.blob)
    return entry


def _ordering_keys(operation: WriteOperation) -> frozenset[OrderingKey]:
    state_keys: list[str] = []
    if isinstance(operation, AppendEvents):
        for raw in operation.events:
            changed = codec.decode(raw, _StateChange)
            state_keys += [*changed.state_delta, *changed.state_delete]
    return ordering_keys(operation, state_keys)


class _StateChange(msgspec.Struct):
    """What of an event matters here. It was checked as a whole before it was accepted."""

    state_delta: dict[str, msgspec.Raw] = {}
    state_delete: list[str] = []
