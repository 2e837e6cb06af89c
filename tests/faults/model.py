"""What a history and a snapshot together say of each operation: whether it had its effect."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.history import History, Record
from tests.faults.operations import MARK, Operation, SessionId, operation_of
from tests.faults.snapshot import Snapshot, VersionRow


@dataclass
class Effects:
    """Where the effects of operations are found in a snapshot.

    Attributes:
        events: the sessions that hold events of an operation, once per event.
        versions: the artifacts' versions that name an operation.
    """

    events: dict[str, list[SessionId]] = field(default_factory=dict)
    versions: dict[str, list[VersionRow]] = field(default_factory=dict)
    #: Sessions that were, or may have been, deleted again.
    deleted: set[SessionId] = field(default_factory=set)
    #: Sessions whose creation is not known to have succeeded.
    unborn: set[SessionId] = field(default_factory=set)
    #: Sessions whose deletion is not known to have been accepted, if it was issued at all.
    undead: set[SessionId] = field(default_factory=set)


def find_effects(history: History, snapshot: Snapshot) -> Effects:
    """Look up the effects of all operations."""
    effects = Effects()
    for key, session in snapshot.sessions.items():
        for event in session.events:
            effects.events.setdefault(operation_of(event.event_id), []).append(key)
    for artifact in snapshot.artifacts.values():
        for version in artifact.versions:
            effects.versions.setdefault(version.operation, []).append(version)
    created: set[SessionId] = set()
    wanted: set[SessionId] = set()
    buried: set[SessionId] = set()
    for record in history.records.values():
        operation = record.operation
        if operation.kind == "delete" and "ok" in operation.allowed and not record.refused:
            effects.deleted.add(operation.key)
            if record.accepted:
                buried.add(operation.key)
        if operation.kind == "create" and "ok" in operation.allowed:
            wanted.add(operation.key)
            if record.accepted:
                created.add(operation.key)
    effects.unborn = wanted - created
    effects.undead = wanted - buried
    return effects


def took_effect(operation: Operation, snapshot: Snapshot, effects: Effects) -> bool:
    """Whether the snapshot shows the operation's effect."""
    session = snapshot.sessions.get(operation.key)
    match operation.kind:
        case "append":
            return operation.id in effects.events
        case "save":
            return operation.id in effects.versions
        case "update":
            return session is not None and f"{MARK}{operation.id}" in session.state
        case "create":
            return session is not None
        case "delete":
            return session is None
        case "remove":
            return False


def allowed_codes(record: Record, effects: Effects) -> set[str]:
    """The outcomes that an operation may have, as its session's life went."""
    operation = record.operation
    allowed = set(operation.allowed)
    on_session = operation.kind in ("append", "update", "delete")
    if on_session and operation.key in effects.unborn:
        allowed |= {"ok", "not_found"}
    if "not_found" in operation.allowed and operation.key in effects.undead:
        # It was to come after a deletion that may never have been accepted.
        allowed |= {"ok"}
    return allowed
