"""Each checker is green on a history that is right, and red once that has been doctored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.checkers import CHECKERS, Evidence, audit
from tests.faults.garbage import Garbage
from tests.faults.history import History, Record
from tests.faults.operations import MARK, Change, Operation
from tests.faults.snapshot import (
    ArtifactRow,
    EventRow,
    LetterRow,
    SessionRow,
    Snapshot,
    VersionRow,
)

KEY = ("shop", "ada", "s")
GONE = ("shop", "ada", "gone")
PLACE = (*KEY, "a")
SHA = "ab" * 32


def operation(number: int, kind: str, key: tuple[str, str, str] = KEY, **fields: object) -> Record:
    """An accepted operation of client c0."""
    made = Operation(
        id=f"c0-{number:08}",
        kind=kind,  # type: ignore[arg-type]
        app=key[0],
        user=key[1],
        session=key[2],
        **fields,  # type: ignore[arg-type]
    )
    return Record(made, accepted=True, told=made.allowed != ["ok"])


def right() -> Evidence:
    """A small run in which everything is as it should be."""
    records = [
        operation(1, "create"),
        operation(2, "append", changes=[Change(sets=["k", "app:x"])]),
        operation(3, "append", changes=[Change(sets=["k"]), Change(deletes=["app:x"])]),
        operation(4, "update", changes=[Change(sets=["user:y", MARK + "c0-00000004"])]),
        operation(5, "save", name="a", size=3, sha256=SHA),
        operation(6, "append", ("shop", "ada", "ghost"), changes=[Change()], watched=False),
        operation(7, "create", GONE),
        operation(8, "delete", GONE),
        operation(9, "append", changes=[Change()], expected_revision=2),
    ]
    ghost = records[5]
    ghost.operation = Operation(
        **{
            **{name: getattr(ghost.operation, name) for name in ghost.operation.__struct_fields__},
            "allowed": ["not_found"],
        }
    )
    ghost.told = False
    for record, number in ((records[1], 1), (records[2], 2), (records[4], 1), (records[8], 3)):
        record.applied, record.number = True, number
    session = SessionRow(
        revision=3,
        last_seq=4,
        events=[
            EventRow(1, "c0-00000002/0", 1),
            EventRow(2, "c0-00000003/0", 2),
            EventRow(3, "c0-00000003/1", 2),
            EventRow(4, "c0-00000009/0", 1),
        ],
        state={"k": "c0-00000003/0", MARK + "c0-00000004": "c0-00000004/0"},
    )
    snapshot = Snapshot(
        sessions={KEY: session},
        users={("shop", "ada"): {"y": "c0-00000004/0"}},
        artifacts={PLACE: ArtifactRow(1, [VersionRow(1, SHA, 3, "c0-00000005")])},
        blobs={SHA: SHA},
        letters=[
            LetterRow(0, "not_found", '{"id":"c0-00000006/0"}'),
            LetterRow(-1, "invalid_request", "garbage-1"),
        ],
    )
    history = History({record.operation.id: record for record in records}, pending={"c0": 0})
    return Evidence(history, snapshot, [Garbage("not-json", "garbage-1", b"")])


def test_all_checkers_are_green_on_a_run_that_is_right() -> None:
    assert audit(right()) == {name: [] for name in CHECKERS}


def _session(evidence: Evidence) -> SessionRow:
    return evidence.snapshot.sessions[KEY]


def lose_event(evidence: Evidence) -> None:
    _session(evidence).events.pop(0)


def lose_half_of_an_append(evidence: Evidence) -> None:
    _session(evidence).events.pop(2)


def lose_version(evidence: Evidence) -> None:
    evidence.snapshot.artifacts[PLACE].versions.clear()


def lose_update(evidence: Evidence) -> None:
    del _session(evidence).state[MARK + "c0-00000004"]


def keep_deleted_session(evidence: Evidence) -> None:
    evidence.snapshot.sessions[GONE] = SessionRow(0, 0)


def double_event(evidence: Evidence) -> None:
    _session(evidence).events.append(EventRow(5, "c0-00000002/0", 1))


def double_version(evidence: Evidence) -> None:
    evidence.snapshot.artifacts[PLACE].versions.append(VersionRow(2, SHA, 3, "c0-00000005"))


def fail_what_must_succeed(evidence: Evidence) -> None:
    record = evidence.history.records["c0-00000002"]
    record.applied, record.failed = False, "already_exists"


def apply_what_was_refused(evidence: Evidence) -> None:
    record = evidence.history.records["c0-00000002"]
    record.accepted, record.refused = False, True


def reorder_events(evidence: Evidence) -> None:
    events = _session(evidence).events
    events[0], events[3] = events[3], events[0]


def leave_gap(evidence: Evidence) -> None:
    _session(evidence).events[3].seq = 5


def miscount_revision(evidence: Evidence) -> None:
    _session(evidence).revision = 2


def tell_wrong_revision(evidence: Evidence) -> None:
    evidence.history.records["c0-00000002"].number = 2


def tear_an_append(evidence: Evidence) -> None:
    events = _session(evidence).events
    events[2], events[3] = events[3], events[2]
    for seq, event in enumerate(events, start=1):
        event.seq = seq


def damage_bytes(evidence: Evidence) -> None:
    evidence.snapshot.blobs[SHA] = "cd" * 32


def lose_bytes(evidence: Evidence) -> None:
    evidence.snapshot.blobs.clear()


def save_other_bytes(evidence: Evidence) -> None:
    evidence.snapshot.artifacts[PLACE].versions[0].sha256 = "cd" * 32


def skip_a_version(evidence: Evidence) -> None:
    artifact = evidence.snapshot.artifacts[PLACE]
    artifact.last_version = artifact.versions[0].version = 2


def keep_old_state(evidence: Evidence) -> None:
    _session(evidence).state["k"] = "c0-00000002/0"


def keep_deleted_state(evidence: Evidence) -> None:
    evidence.snapshot.apps["shop"] = {"x": "c0-00000002/0"}


def add_foreign_session(evidence: Evidence) -> None:
    evidence.snapshot.sessions[("desk", "eve", "s")] = SessionRow(0, 0)


def add_foreign_state(evidence: Evidence) -> None:
    evidence.snapshot.users[("desk", "eve")] = {"y": "c0-00000004/0"}


def add_foreign_version(evidence: Evidence) -> None:
    version = VersionRow(1, SHA, 3, "c0-00000005")
    evidence.snapshot.artifacts[("desk", "eve", "s", "a")] = ArtifactRow(1, [version])


def forget_dead_letter(evidence: Evidence) -> None:
    del evidence.snapshot.letters[0]


def forget_garbage(evidence: Evidence) -> None:
    del evidence.snapshot.letters[1]


def mistake_garbage_for_an_operation(evidence: Evidence) -> None:
    evidence.snapshot.letters[1].position = 0


def die(evidence: Evidence) -> None:
    evidence.complaints.append("w0 ended by itself with code 1")


def see_less_than_before(evidence: Evidence) -> None:
    evidence.history.bad.append("c0: s was at 3, then at 2")


def stay_undrained(evidence: Evidence) -> None:
    evidence.drained = False


@pytest.mark.parametrize(
    ("doctor", "checker"),
    [
        (lose_event, "lost"),
        (lose_half_of_an_append, "lost"),
        (lose_version, "lost"),
        (lose_update, "lost"),
        (keep_deleted_session, "lost"),
        (double_event, "doubled"),
        (double_version, "doubled"),
        (fail_what_must_succeed, "outcomes"),
        (apply_what_was_refused, "outcomes"),
        (reorder_events, "order"),
        (leave_gap, "sequence"),
        (miscount_revision, "sequence"),
        (tell_wrong_revision, "sequence"),
        (tear_an_append, "sequence"),
        (damage_bytes, "versions"),
        (lose_bytes, "versions"),
        (save_other_bytes, "versions"),
        (skip_a_version, "versions"),
        (keep_old_state, "state"),
        (keep_deleted_state, "state"),
        (add_foreign_session, "tenants"),
        (add_foreign_state, "tenants"),
        (add_foreign_version, "tenants"),
        (forget_dead_letter, "silent"),
        (forget_garbage, "garbage"),
        (mistake_garbage_for_an_operation, "garbage"),
        (die, "processes"),
        (see_less_than_before, "processes"),
        (stay_undrained, "processes"),
    ],
)
def test_checker_turns_red(doctor: Callable[[Evidence], None], checker: str) -> None:
    evidence = right()
    doctor(evidence)
    doctored = Evidence(
        evidence.history,
        evidence.snapshot,
        evidence.garbage,
        evidence.complaints,
        drained=evidence.drained,
    )
    assert list(CHECKERS[checker](doctored)), f"{checker} has not seen {doctor.__name__}"


def test_every_checker_is_shown_to_turn_red() -> None:
    (mark,) = test_checker_turns_red.pytestmark  # type: ignore[attr-defined]
    assert {checker for _, checker in mark.args[1]} == set(CHECKERS)
