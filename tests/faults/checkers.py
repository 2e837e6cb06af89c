"""The audit: pure functions from what clients were told and what is there to what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.garbage import Garbage
from tests.faults.history import History, Record
from tests.faults.model import Effects, allowed_codes, find_effects, took_effect
from tests.faults.operations import Change, SessionId, operation_of, value_of
from tests.faults.snapshot import SessionRow, Snapshot


@dataclass
class Evidence:
    """All that the audit goes by.

    Attributes:
        garbage: what was put on the queue that is no message.
        complaints: what the harness itself saw that must not be.
        drained: whether all clients had nothing pending in time.
    """

    history: History
    snapshot: Snapshot
    garbage: list[Garbage] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    drained: bool = True
    effects: Effects = field(init=False)

    def __post_init__(self) -> None:
        self.effects = find_effects(self.history, self.snapshot)

    def took_effect(self, record: Record) -> bool:
        """Whether the operation's effect is there."""
        return took_effect(record.operation, self.snapshot, self.effects)

    def codes(self, record: Record) -> set[str]:
        """The outcomes that the operation may have."""
        return allowed_codes(record, self.effects)


Checker = Callable[[Evidence], Iterator[str]]


def lost(evidence: Evidence) -> Iterator[str]:
    """What was accepted and must succeed, or was said to be applied, is there, and whole."""
    for record in evidence.history.records.values():
        operation = record.operation
        gone = operation.key in evidence.effects.deleted and operation.kind != "delete"
        if gone and operation.kind != "save":
            continue
        due = record.applied or (record.accepted and evidence.codes(record) == {"ok"})
        if due and operation.kind != "remove" and not evidence.took_effect(record):
            yield f"{operation.id} ({operation.kind}) is not there"
        found = len(evidence.effects.events.get(operation.id, ()))
        if 0 < found < len(operation.changes):
            yield f"{operation.id} is there in part: {found} of {len(operation.changes)} events"


def doubled(evidence: Evidence) -> Iterator[str]:
    """No operation took effect twice."""
    for record in evidence.history.records.values():
        operation = record.operation
        found = len(evidence.effects.events.get(operation.id, ()))
        if found > len(operation.changes):
            yield f"{operation.id} has {found} events instead of {len(operation.changes)}"
        versions = evidence.effects.versions.get(operation.id, ())
        if len(versions) > 1:
            yield f"{operation.id} was saved as versions {[v.version for v in versions]}"


def outcomes(evidence: Evidence) -> Iterator[str]:
    """What clients were told is what may happen, and what failed or was refused did not happen."""
    for record in evidence.history.records.values():
        operation = record.operation
        codes = evidence.codes(record)
        told = record.failed or ("ok" if record.applied else None)
        if told is not None and told not in codes:
            yield f"{operation.id} ({operation.kind}) ended as {told}, not {sorted(codes)}"
        failed = record.failed is not None or record.refused or "ok" not in codes
        own = operation.kind in ("append", "save", "update")
        if own and failed and evidence.took_effect(record):
            yield f"{operation.id} failed or was refused, and is there all the same"


def order(evidence: Evidence) -> Iterator[str]:
    """What one client issued for one session or artifact is there in the order of issue."""
    for key, session in evidence.snapshot.sessions.items():
        ids = [event.event_id for event in session.events]
        yield from _out_of_order(evidence.history, "/".join(key), ids)
    for place, artifact in evidence.snapshot.artifacts.items():
        ids = [value_of(version.operation, 0) for version in artifact.versions]
        yield from _out_of_order(evidence.history, "/".join(place), ids)


def _out_of_order(history: History, where: str, ids: list[str]) -> Iterator[str]:
    last: dict[str, tuple[int, int]] = {}
    for id_ in ids:
        record = history.records.get(operation_of(id_))
        if record is None:
            continue
        place = (record.operation.ordinal, int(id_.rpartition("/")[2]))
        client = record.operation.client
        if place < last.get(client, place):
            yield f"{where}: {id_} comes after {client}-{last[client][0]}/{last[client][1]}"
        last[client] = place


def sequence(evidence: Evidence) -> Iterator[str]:
    """Seqs are dense from 1, appends are whole, revisions count them, and were told so."""
    for key, session in evidence.snapshot.sessions.items():
        where = "/".join(key)
        seqs = [event.seq for event in session.events]
        if seqs != list(range(1, session.last_seq + 1)):
            gap = next((a for a, b in pairwise([0, *seqs]) if b != a + 1), len(seqs))
            yield f"{where}: {len(seqs)} events, last_seq {session.last_seq}, gap after {gap}"
        runs = _appends(session)
        if len(set(runs)) != len(runs):
            yield f"{where}: the events of an append are not together"
        if session.revision != len(runs):
            yield f"{where}: revision {session.revision} after {len(runs)} appends"
        yield from _revisions(evidence.history, where, runs)


def _appends(session: SessionRow) -> list[str]:
    """The operations whose events follow one another, one for each run of events."""
    runs: list[str] = []
    for event in session.events:
        id_ = operation_of(event.event_id)
        if not runs or runs[-1] != id_:
            runs.append(id_)
    return runs


def _revisions(history: History, where: str, runs: list[str]) -> Iterator[str]:
    for revision, id_ in enumerate(runs, start=1):
        record = history.records.get(id_)
        if record is None:
            continue
        if record.applied and record.number != revision:
            yield f"{where}: {id_} made revision {revision}, and was told {record.number}"
        expected = record.operation.expected_revision
        if expected is not None and expected != revision - 1:
            yield f"{where}: {id_} expected revision {expected}, and met {revision - 1}"


def versions(evidence: Evidence) -> Iterator[str]:
    """Versions are 1 to n, each with the bytes that were saved, which are in the blob store."""
    for place, artifact in evidence.snapshot.artifacts.items():
        where = "/".join(place)
        numbers = [version.version for version in artifact.versions]
        if numbers != list(range(1, artifact.last_version + 1)):
            yield f"{where}: versions {numbers[:5]}... up to {artifact.last_version}"
        for version in artifact.versions:
            name = f"{where} version {version.version}"
            record = evidence.history.records.get(version.operation)
            saved = record.operation if record is not None else None
            if saved is not None and (saved.sha256, saved.size) != (version.sha256, version.size):
                yield f"{name} does not have the bytes that {saved.id} saved"
            if record is not None and record.applied and record.number != version.version:
                yield f"{name} was told to be version {record.number}"
            if evidence.snapshot.blobs.get(version.sha256) != version.sha256:
                yield f"{name} refers to bytes that are missing or damaged"


@dataclass
class _Replay:
    sessions: dict[SessionId, dict[str, str]] = field(default_factory=dict)
    users: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    apps: dict[str, dict[str, str]] = field(default_factory=dict)

    def apply(self, key: SessionId, change: Change, value: str) -> None:
        for name in change.sets:
            scope, bare = self._scope(key, name)
            scope[bare] = value
        for name in change.deletes:
            scope, bare = self._scope(key, name)
            scope.pop(bare, None)

    def _scope(self, key: SessionId, name: str) -> tuple[dict[str, str], str]:
        if name.startswith("app:"):
            return self.apps.setdefault(key[0], {}), name.removeprefix("app:")
        if name.startswith("user:"):
            return self.users.setdefault(key[:2], {}), name.removeprefix("user:")
        return self.sessions.setdefault(key, {}), name


def state(evidence: Evidence) -> Iterator[str]:
    """Every state key is what a replay of the applied operations makes of it.

    Each key has one writer, so the order of issue decides.
    """
    replay = _Replay()
    records = sorted(
        evidence.history.records.values(), key=lambda r: (r.operation.client, r.operation.ordinal)
    )
    for record in records:
        operation = record.operation
        if "ok" in evidence.codes(record) and evidence.took_effect(record):
            for index, change in enumerate(operation.changes):
                replay.apply(operation.key, change, value_of(operation.id, index))
    for key, session in evidence.snapshot.sessions.items():
        yield from _differences("/".join(key), replay.sessions.get(key, {}), session.state)
    for user in replay.users.keys() | evidence.snapshot.users.keys():
        found = evidence.snapshot.users.get(user, {})
        yield from _differences(f"user {user}", replay.users.get(user, {}), found)
    for app in replay.apps.keys() | evidence.snapshot.apps.keys():
        found = evidence.snapshot.apps.get(app, {})
        yield from _differences(f"app {app}", replay.apps.get(app, {}), found)


def _differences(where: str, wanted: dict[str, str], found: dict[str, object]) -> Iterator[str]:
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            yield f"{where}: {name} is {found.get(name)!r} instead of {wanted.get(name)!r}"


def tenants(evidence: Evidence) -> Iterator[str]:
    """Every row belongs to the tenant of the operation that wrote it, which somebody issued."""
    records, snapshot = evidence.history.records, evidence.snapshot
    known = {record.operation.key for record in records.values()}
    for key, session in snapshot.sessions.items():
        if key not in known:
            yield f"nobody created session {'/'.join(key)}"
        for event in session.events:
            yield from _foreign(records, event.event_id, key)
        for value in session.state.values():
            yield from _foreign(records, str(value), key)
    for user, values in snapshot.users.items():
        for value in values.values():
            yield from _foreign(records, str(value), user)
    for app, values in snapshot.apps.items():
        for value in values.values():
            yield from _foreign(records, str(value), (app,))
    for place, artifact in snapshot.artifacts.items():
        for version in artifact.versions:
            record = records.get(version.operation)
            if record is None or record.operation.artifact != place:
                yield f"{'/'.join(place)} version {version.version} is not of this tenant"


def _foreign(records: dict[str, Record], value: str, key: tuple[str, ...]) -> Iterator[str]:
    record = records.get(operation_of(value))
    if record is None or record.operation.key[: len(key)] != key:
        yield f"{'/'.join(key)} holds {value}, which is not of this tenant"


def silent(evidence: Evidence) -> Iterator[str]:
    """Every failure was told to somebody, or is a dead letter."""
    mourned = evidence.snapshot.mourned()
    for record in evidence.history.records.values():
        operation = record.operation
        told = record.told or record.failed is not None or record.applied
        if told or not record.accepted or operation.id in mourned:
            continue
        codes = evidence.codes(record)
        gone = operation.key in evidence.effects.deleted and "ok" in codes
        failed = "ok" not in codes or (len(codes) > 1 and not evidence.took_effect(record))
        if failed and not gone:
            yield f"{operation.id} ({operation.kind}) failed in silence"


def garbage(evidence: Evidence) -> Iterator[str]:
    """Every piece of garbage is a dead letter; as a whole, unless it can be read as a message."""
    for piece in evidence.garbage:
        found = [letter for letter in evidence.snapshot.letters if piece.marker in letter.text]
        if not any(letter.position == -1 or piece.readable for letter in found):
            yield f"{piece.name} ({piece.marker}) vanished"


def processes(evidence: Evidence) -> Iterator[str]:
    """No process ended by itself, no client saw what must not be, and all drained in time."""
    yield from evidence.complaints
    yield from evidence.history.bad
    if not evidence.drained:
        yield f"not drained in time; pending: {evidence.history.pending}"


CHECKERS: dict[str, Checker] = {
    checker.__name__: checker
    for checker in (
        lost,
        doubled,
        outcomes,
        order,
        sequence,
        versions,
        state,
        tenants,
        silent,
        garbage,
        processes,
    )
}


def audit(evidence: Evidence) -> dict[str, list[str]]:
    """The violations that each checker found; an empty list for those that found none."""
    return {name: list(checker(evidence)) for name, checker in CHECKERS.items()}
