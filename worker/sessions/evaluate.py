"""Decides every session operation of a batch, in memory. Pure: no I/O, no clock.

The store locks the sessions a batch touches and hands over what it found; this module says what
becomes of each operation and what is to be written; the store writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from api_client.contract.checks import (
    check_count,
    check_raw_values,
    check_size,
    check_state_keys,
)
from api_client.contract.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    NotFound,
    StorageError,
)
from api_client.contract.events import (
    EventEnvelope,
    check_batch,
    check_disjoint,
    decode_event,
    in_event,
    strip_temporary,
)
from api_client.contract.keys import SessionKey
from api_client.contract.limits import MAX_STATE_BYTES
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteSession,
    UpdateState,
)
from api_client.contract.outcomes import (
    AppendedEvent,
    EventsAppended,
    SessionCreated,
    SessionDeleted,
    StateUpdated,
)
from api_client.contract.scopes import is_temporary
from worker.sessions.state import StateChanges

SessionOperation = CreateSession | AppendEvents | UpdateState | DeleteSession
SessionResult = SessionCreated | EventsAppended | StateUpdated | SessionDeleted


@dataclass
class SessionRow:
    """A locked row of ``sessions``; ``exists`` is False for one inserted for a create."""

    pk: int
    key: SessionKey
    exists: bool
    revision: int
    last_seq: int
    created_at: datetime
    updated_at: datetime
    changed: bool = False
    #: Deleted in this batch; if it ``exists`` all the same, it was created again after that.
    deleted: bool = False


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """A row of ``events`` to be."""

    session_pk: int
    seq: int
    event_id: str
    timestamp: datetime
    size: int
    payload: str


@dataclass
class Snapshot:
    """What the store found, under lock, of the sessions that a batch touches.

    Attributes:
        rows: those that exist or were inserted for a create; all others are absent.
        seen: the seq of every event of the batch that is stored already, by row id and event id;
            empty if all are taken for new.
    """

    rows: dict[SessionKey, SessionRow]
    seen: dict[tuple[int, str], int] = field(default_factory=dict)


@dataclass
class SessionPlan:
    """What became of each operation, in order, and what is to be written."""

    results: list[SessionResult | StorageError] = field(default_factory=list)
    events: list[NewEvent] = field(default_factory=list)
    state: StateChanges = field(default_factory=StateChanges)


# A frozen dataclass would take ten times as long to make, and there is one for each event.
class DecodedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the batch: its envelope, its JSON as it will be stored, and that in bytes."""

    envelope: EventEnvelope
    payload: str
    size: int


class DecodedAppend(msgspec.Struct, frozen=True, gc=False):
    """An append whose events have been read and checked; partial ones are left out."""

    operation: AppendEvents
    events: list[DecodedEvent]


Decoded = CreateSession | UpdateState | DeleteSession | DecodedAppend


def decode(operation: SessionOperation) -> Decoded:
    """Read and check what the codec left unparsed.

    Raises:
        InvalidRequest: an event, a state key or ``expected_revision`` breaks the contract.
    """
    match operation:
        case AppendEvents():
            return _decode_append(operation)
        case CreateSession(state=state):
            check_state_keys(state, "state")
            check_raw_values(state, "state")
            check_size(sum(map(_size, state.values())), "state", MAX_STATE_BYTES)
        case UpdateState(delta=delta, delete=delete):
            check_state_keys(delta, "delta")
            check_raw_values(delta, "delta")
            check_size(sum(map(_size, delta.values())), "delta", MAX_STATE_BYTES)
            if not delta and not delete:
                raise InvalidRequest("delta and delete are both empty", field="delta")
            check_state_keys(delete, "delete")
            check_disjoint(delta, delete, "delete")
    return operation


def _size(raw: msgspec.Raw) -> int:
    return len(bytes(raw))


def _decode_append(operation: AppendEvents) -> DecodedAppend:
    check_batch(len(operation.events))
    if operation.expected_revision is not None:
        check_count(operation.expected_revision, "expected_revision")
    decoded = []
    for index, raw in enumerate(operation.events):
        try:
            envelope = decode_event(raw)
        except StorageError as error:
            raise in_event(error, index) from None
        if not envelope.partial:
            payload = bytes(strip_temporary(raw, envelope))
            decoded.append(DecodedEvent(envelope, payload.decode(), len(payload)))
    return DecodedAppend(operation, decoded)


def evaluate(
    operations: Sequence[Decoded | StorageError], snapshot: Snapshot, now: datetime
) -> SessionPlan:
    """Decide ``operations`` in order against ``snapshot``, which is changed along the way.

    Parameters:
        operations: an error in place of an operation is passed on as its result.
        now: the store's time, for ``created_at`` and ``updated_at``.
    """
    evaluation = _Evaluation(snapshot, now)
    for operation in operations:
        if isinstance(operation, StorageError):
            evaluation.plan.results.append(operation)
        else:
            evaluation.decide(operation)
    return evaluation.plan


class _Evaluation:
    def __init__(self, snapshot: Snapshot, now: datetime):
        self.rows = snapshot.rows
        self.seen = snapshot.seen
        self.now = now
        self.plan = SessionPlan()

    def decide(self, operation: Decoded) -> None:
        try:
            self.plan.results.append(self._result(operation))
        except StorageError as error:
            self.plan.results.append(error)

    def _result(self, operation: Decoded) -> SessionResult:
        match operation:
            case CreateSession():
                return self._create(operation)
            case DecodedAppend():
                return self._append(operation)
            case UpdateState():
                return self._update_state(operation)
            case DeleteSession():
                return self._delete(operation)

    def _create(self, operation: CreateSession) -> SessionCreated:
        row = self.rows[operation.key]
        if row.exists:
            raise AlreadyExists(f"session {operation.key.session!r} exists already", field="key")
        row.exists = True
        row.revision = row.last_seq = 0
        row.created_at = row.updated_at = self.now
        row.changed = True
        self.plan.state.apply(row.key, row.pk, operation.state, ())
        return SessionCreated(row.key, row.created_at)

    def _append(self, append: DecodedAppend) -> EventsAppended:
        row = self._existing(append.operation.key)
        entries, new = self._place(row, append.events)
        expected = append.operation.expected_revision
        if expected is not None and expected != row.revision and (new or not entries):
            raise Conflict(
                f"expected_revision is {expected}, but the session is at {row.revision}; "
                "load it and decide again",
                field="expected_revision",
            )
        if new:
            row.revision += 1
            row.last_seq += len(new)
            self._touch(row)
        for seq, event in new:
            self._store(row, seq, event)
        return EventsAppended(row.revision, entries)

    def _place(
        self, row: SessionRow, events: Sequence[DecodedEvent]
    ) -> tuple[list[AppendedEvent], list[tuple[int, DecodedEvent]]]:
        """Give each event its seq; those seen before keep their first one."""
        entries: list[AppendedEvent] = []
        new: list[tuple[int, DecodedEvent]] = []
        placed: dict[str, int] = {}
        for event in events:
            event_id = event.envelope.id
            first = placed.get(event_id) or self.seen.get((row.pk, event_id))
            if first is None:
                seq = row.last_seq + len(new) + 1
                new.append((seq, event))
                placed[event_id] = seq
                entries.append(AppendedEvent(event_id, seq))
            else:
                entries.append(AppendedEvent(event_id, first, duplicate=True))
        return entries, new

    def _store(self, row: SessionRow, seq: int, event: DecodedEvent) -> None:
        envelope = event.envelope
        self.seen[(row.pk, envelope.id)] = seq
        self.plan.events.append(
            NewEvent(row.pk, seq, envelope.id, envelope.timestamp, event.size, event.payload)
        )
        self.plan.state.apply(row.key, row.pk, envelope.state_delta, envelope.state_delete)

    def _update_state(self, operation: UpdateState) -> StateUpdated:
        row = self._existing(operation.key)
        if not all(map(is_temporary, [*operation.delta, *operation.delete])):
            self.plan.state.apply(row.key, row.pk, operation.delta, operation.delete)
            self._touch(row)
        return StateUpdated(row.revision)

    def _delete(self, operation: DeleteSession) -> SessionDeleted:
        row = self._existing(operation.key)
        count = row.last_seq
        self.plan.events = [event for event in self.plan.events if event.session_pk != row.pk]
        self.seen = {place: seq for place, seq in self.seen.items() if place[0] != row.pk}
        self.plan.state.forget_session(row.pk)
        row.exists = False
        row.deleted = True
        return SessionDeleted(count)

    def _existing(self, key: SessionKey) -> SessionRow:
        row = self.rows.get(key)
        if row is None or not row.exists:
            raise NotFound(
                f"there is no session {key.session!r} of user {key.user!r} in app {key.app!r}",
                field="key",
            )
        return row

    def _touch(self, row: SessionRow) -> None:
        # Clocks of workers differ; a session never seems to go back in time.
        row.updated_at = max(row.updated_at, self.now)
        row.changed = True
