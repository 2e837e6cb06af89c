"""What becomes of session operations, decided in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    NotFound,
    StorageError,
    TooLarge,
)
from api_client.contract.keys import SessionKey
from api_client.contract.limits import MAX_EVENTS_PER_APPEND, MAX_JSON_DEPTH, MAX_STATE_BYTES
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
from worker.sessions.evaluate import (
    SessionOperation,
    SessionPlan,
    SessionRow,
    Snapshot,
    decode,
    evaluate,
)

KEY = SessionKey("app", "user", "session")
OTHER = SessionKey("app", "user", "other")
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 11, 5, tzinfo=timezone.utc)
PK = 7


def row(key: SessionKey = KEY, *, pk: int = PK, exists: bool = True, seq: int = 0) -> SessionRow:
    return SessionRow(pk, key, exists, seq, seq, LONG_AGO, LONG_AGO)


def absent(key: SessionKey = KEY, pk: int = PK) -> SessionRow:
    """A row that was inserted because the batch holds a create for it."""
    return row(key, pk=pk, exists=False)


def event(event_id: str, **fields: Any) -> msgspec.Raw:
    envelope = {"id": event_id, "author": "a", "timestamp": "2026-01-01T00:00:00Z"}
    return msgspec.Raw(codec.encode(envelope | fields))


def append(*events: str | msgspec.Raw, key: SessionKey = KEY, at: int | None = None) -> Any:
    raw = [event(e) if isinstance(e, str) else e for e in events]
    return AppendEvents(key=key, events=raw, expected_revision=at)


def raw_state(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(codec.encode(value)) for name, value in values.items()}


def run(
    rows: Sequence[SessionRow],
    *operations: SessionOperation | StorageError,
    seen: dict[tuple[int, str], int] | None = None,
) -> SessionPlan:
    decoded = [op if isinstance(op, StorageError) else decode(op) for op in operations]
    return evaluate(decoded, Snapshot({r.key: r for r in rows}, seen or {}), NOW)


def appended(revision: int, *events: tuple[str, int] | tuple[str, int, bool]) -> EventsAppended:
    return EventsAppended(revision, [AppendedEvent(*one) for one in events])


class TestCreate:
    def test_it_begins_empty_with_its_state(self) -> None:
        found = absent()
        plan = run([found], CreateSession(key=KEY, state=raw_state(lang="en")))
        assert plan.results == [SessionCreated(KEY, NOW)]
        assert (found.exists, found.changed, found.revision, found.last_seq) == (True, True, 0, 0)
        assert plan.state.session == {(PK, "lang"): '"en"'}

    def test_seed_fault_create_pretends_success_for_an_existing_session(self) -> None:
        found = row(seq=3)
        plan = run([found], CreateSession(key=KEY, state=raw_state(lang="en")))
        (error,) = plan.results
        assert isinstance(error, AlreadyExists)
        assert error.field == "key"
        assert (found.created_at, found.revision, found.changed) == (LONG_AGO, 3, False)
        assert plan.state.session == {}

    def test_the_second_of_two_in_one_batch_fails(self) -> None:
        plan = run([absent()], CreateSession(key=KEY), CreateSession(key=KEY))
        first, second = plan.results
        assert isinstance(first, SessionCreated)
        assert isinstance(second, AlreadyExists)

    def test_appends_behind_it_find_the_session_and_those_before_it_do_not(self) -> None:
        plan = run([absent()], append("e0"), CreateSession(key=KEY), append("e1"))
        before, _, behind = plan.results
        assert isinstance(before, NotFound)
        assert behind == appended(1, ("e1", 1))
        assert [(new.session_pk, new.event_id) for new in plan.events] == [(PK, "e1")]


class TestAppend:
    def test_events_get_the_next_places(self) -> None:
        found = row(seq=4)
        plan = run([found], append("a", "b"), append("c"))
        assert plan.results == [appended(5, ("a", 5), ("b", 6)), appended(6, ("c", 7))]
        assert (found.revision, found.last_seq, found.updated_at) == (6, 7, NOW)
        assert [(new.seq, new.event_id) for new in plan.events] == [(5, "a"), (6, "b"), (7, "c")]

    def test_what_is_stored_is_what_was_sent(self) -> None:
        raw = event("é", content={"z": [1.0, "\x00"]})
        (new,) = run([row()], append(raw)).events
        assert new.payload.encode() == bytes(raw)
        assert new.size == len(bytes(raw))
        assert new.timestamp == datetime(2026, 1, 1, tzinfo=timezone.utc)

    def test_a_missing_session_is_not_found_and_nothing_is_written(self) -> None:
        for rows in ([], [absent()]):
            plan = run(rows, append(event("a", state_delta={"app:x": 1, "y": 2})))
            (error,) = plan.results
            assert isinstance(error, NotFound)
            assert error.field == "key"
            assert plan.events == []
            assert (plan.state.app, plan.state.session) == ({}, {})

    @pytest.mark.parametrize(
        "key",
        [
            SessionKey("other app", "user", "session"),
            SessionKey("app", "other user", "session"),
            SessionKey("user", "app", "session"),
        ],
    )
    def test_seed_fault_append_by_session_id_alone_writes_into_another_tenants_session(
        self, key: SessionKey
    ) -> None:
        found = row()
        plan = run([found], append("a", key=key))
        assert isinstance(plan.results[0], NotFound)
        assert not found.changed

    def test_time_never_seems_to_go_back(self) -> None:
        found = row()
        found.updated_at = NOW + timedelta(hours=1)
        run([found], append("a"))
        assert found.updated_at == NOW + timedelta(hours=1)

    def test_a_bad_operation_does_not_block_its_neighbours(self) -> None:
        refused = InvalidRequest("no event", field="event")
        plan = run([row()], append("a"), refused, append("b", key=OTHER), append("c"))
        first, second, third, fourth = plan.results
        assert first == appended(1, ("a", 1))
        assert second is refused
        assert isinstance(third, NotFound)
        assert fourth == appended(2, ("c", 2))


class TestDuplicates:
    def test_seed_fault_a_duplicate_event_id_is_an_error(self) -> None:
        found = row(seq=5)
        plan = run([found], append("a"), seen={(PK, "a"): 2})
        assert plan.results == [appended(5, ("a", 2, True))]
        assert plan.events == []
        assert not found.changed

    def test_one_within_an_append_gets_the_place_of_the_first(self) -> None:
        plan = run([row()], append("a", "b", "a"))
        assert plan.results == [appended(1, ("a", 1), ("b", 2), ("a", 1, True))]
        assert [new.seq for new in plan.events] == [1, 2]

    def test_one_within_a_batch_too(self) -> None:
        plan = run([row()], append("a"), append("a"), append("a", "b"))
        assert plan.results == [
            appended(1, ("a", 1)),
            appended(1, ("a", 1, True)),
            appended(2, ("a", 1, True), ("b", 2)),
        ]

    def test_its_state_delta_is_not_applied_again(self) -> None:
        again = event("a", state_delta={"step": 99, "app:x": 99})
        plan = run([row(seq=1)], append(again, "b"), seen={(PK, "a"): 1})
        assert plan.results == [appended(2, ("a", 1, True), ("b", 2))]
        assert (plan.state.session, plan.state.app) == ({}, {})

    def test_an_id_seen_in_one_session_is_new_in_another(self) -> None:
        rows = [row(), row(OTHER, pk=8)]
        plan = run(rows, append("a"), append("a", key=OTHER))
        assert plan.results == [appended(1, ("a", 1))] * 2

    def test_an_event_of_a_failed_append_is_not_a_duplicate_later(self) -> None:
        plan = run([row(seq=1)], append("a", at=9), append("a", at=1))
        failed, later = plan.results
        assert isinstance(failed, Conflict)
        assert later == appended(2, ("a", 2))


class TestPartialEvents:
    def test_seed_fault_partial_events_are_stored(self) -> None:
        fragment = event("p", partial=True, state_delta={"step": 1})
        plan = run([row()], append(fragment, "a"))
        assert plan.results == [appended(1, ("a", 1))]
        assert [new.event_id for new in plan.events] == ["a"]
        assert plan.state.session == {}

    def test_an_append_of_nothing_else_changes_nothing(self) -> None:
        found = row(seq=2)
        plan = run([found], append(event("p", partial=True)))
        assert plan.results == [appended(2)]
        assert not found.changed

    def test_an_id_first_sent_as_a_fragment_is_new(self) -> None:
        plan = run([row()], append(event("a", partial=True), "a"))
        assert plan.results == [appended(1, ("a", 1))]


class TestExpectedRevision:
    def test_the_present_one_is_met(self) -> None:
        assert run([row(seq=3)], append("a", at=3)).results == [appended(4, ("a", 4))]

    @pytest.mark.parametrize("expected", [0, 2, 4])
    def test_another_one_is_a_conflict_and_nothing_is_written(self, expected: int) -> None:
        found = row(seq=3)
        plan = run([found], append(event("a", state_delta={"x": 1}), at=expected))
        (error,) = plan.results
        assert isinstance(error, Conflict)
        assert error.field == "expected_revision"
        assert "at 3" in error.message
        assert plan.events == []
        assert plan.state.session == {}
        assert not found.changed

    def test_of_two_that_expect_the_same_the_first_wins(self) -> None:
        first, second = run([row(seq=3)], append("a", at=3), append("b", at=3)).results
        assert first == appended(4, ("a", 4))
        assert isinstance(second, Conflict)

    def test_a_repeated_append_is_answered_although_the_revision_has_moved_on(self) -> None:
        plan = run([row(seq=9)], append("a", "b", at=3), seen={(PK, "a"): 4, (PK, "b"): 5})
        assert plan.results == [appended(9, ("a", 4, True), ("b", 5, True))]

    def test_a_repeated_event_beside_a_new_one_is_a_conflict_whole(self) -> None:
        plan = run([row(seq=9)], append("a", "new", at=3), seen={(PK, "a"): 4})
        assert isinstance(plan.results[0], Conflict)
        assert plan.events == []

    def test_fragments_alone_still_compare(self) -> None:
        plan = run([row(seq=9)], append(event("p", partial=True), at=3))
        assert isinstance(plan.results[0], Conflict)

    def test_a_state_update_does_not_move_it(self) -> None:
        update = UpdateState(key=KEY, delta=raw_state(x=1))
        plan = run([row(seq=3)], update, append("a", at=3))
        assert plan.results == [StateUpdated(3), appended(4, ("a", 4))]


class TestState:
    def test_seed_fault_state_delta_is_never_applied(self) -> None:
        delta = {"step": 1, "app:a": [1], "user:u": None, "temp:t": 1}
        plan = run([row()], append(event("a", state_delta=delta)))
        assert plan.state.session == {(PK, "step"): "1"}
        assert plan.state.app == {("app", "a"): "[1]"}
        assert plan.state.user == {("app", "user", "u"): "null"}

    def test_deltas_apply_in_order_and_the_last_counts(self) -> None:
        plan = run(
            [row()],
            append(event("a", state_delta={"x": 1, "y": 1}), event("b", state_delta={"x": 2})),
            UpdateState(key=KEY, delta=raw_state(x=3), delete=["y"]),
            append(event("c", state_delta={"y": 4}, state_delete=["x"])),
        )
        assert plan.state.session == {(PK, "x"): None, (PK, "y"): "4"}

    def test_null_is_a_value_and_deletion_is_explicit(self) -> None:
        plan = run([row()], UpdateState(key=KEY, delta=raw_state(x=None), delete=["y", "app:z"]))
        assert plan.state.session == {(PK, "x"): "null", (PK, "y"): None}
        assert plan.state.app == {("app", "z"): None}

    def test_temporary_state_of_create_and_update_is_dropped(self) -> None:
        state = {"temp:a": msgspec.Raw(b"1"), "b": msgspec.Raw(b"2")}
        plan = run([absent()], CreateSession(key=KEY, state=state))
        assert plan.state.session == {(PK, "b"): "2"}
        plan = run([row()], UpdateState(key=KEY, delta=state, delete=["temp:c"]))
        assert plan.state.session == {(PK, "b"): "2"}

    def test_an_update_of_a_missing_session_writes_nothing(self) -> None:
        plan = run([], UpdateState(key=KEY, delta={"app:x": msgspec.Raw(b"1")}))
        assert isinstance(plan.results[0], NotFound)
        assert plan.state.app == {}

    def test_an_update_touches_the_session(self) -> None:
        found = row(seq=3)
        assert run([found], UpdateState(key=KEY, delete=["x"])).results == [StateUpdated(3)]
        assert (found.updated_at, found.changed) == (NOW, True)


class TestDelete:
    def test_it_tells_how_many_events_went(self) -> None:
        found = row(seq=5)
        assert run([found], DeleteSession(key=KEY)).results == [SessionDeleted(5)]
        assert (found.exists, found.deleted) == (False, True)

    def test_a_missing_session_is_not_found(self) -> None:
        for rows in ([], [absent()]):
            (error,) = run(rows, DeleteSession(key=KEY)).results
            assert isinstance(error, NotFound)

    def test_what_the_batch_did_before_goes_too_except_shared_state(self) -> None:
        other = row(OTHER, pk=8)
        plan = run(
            [row(seq=1), other],
            append(event("a", state_delta={"x": 1, "app:x": 2, "user:x": 3})),
            append(event("b", state_delta={"x": 4}), key=OTHER),
            DeleteSession(key=KEY),
        )
        assert plan.results[-1] == SessionDeleted(2)
        assert [new.event_id for new in plan.events] == ["b"]
        assert plan.state.session == {(8, "x"): "4"}
        assert plan.state.app == {("app", "x"): "2"}
        assert plan.state.user == {("app", "user", "x"): "3"}

    def test_operations_behind_it_do_not_find_the_session(self) -> None:
        plan = run([row()], DeleteSession(key=KEY), append("a"), DeleteSession(key=KEY))
        assert [type(result) for result in plan.results[1:]] == [NotFound, NotFound]

    def test_a_session_created_anew_in_the_same_batch_begins_from_nothing(self) -> None:
        found = row(seq=5)
        plan = run(
            [found],
            append(event("old", state_delta={"old": 1})),
            DeleteSession(key=KEY),
            CreateSession(key=KEY, state=raw_state(new=1)),
            append("old", "stored"),
            seen={(PK, "stored"): 3},
        )
        assert plan.results[1:] == [
            SessionDeleted(6),
            SessionCreated(KEY, NOW),
            appended(1, ("old", 1), ("stored", 2)),
        ]
        assert [(new.seq, new.event_id) for new in plan.events] == [(1, "old"), (2, "stored")]
        assert plan.state.session == {(PK, "new"): "1"}
        assert (found.exists, found.deleted, found.created_at) == (True, True, NOW)
        assert (found.revision, found.last_seq) == (1, 2)

    def test_one_created_and_deleted_leaves_nothing(self) -> None:
        found = absent()
        plan = run([found], CreateSession(key=KEY), append("a"), DeleteSession(key=KEY))
        assert plan.results[-1] == SessionDeleted(1)
        assert plan.events == []
        assert not found.exists

    def test_deleting_twice_with_a_life_in_between(self) -> None:
        plan = run(
            [row(seq=2)],
            DeleteSession(key=KEY),
            CreateSession(key=KEY),
            append("a"),
            DeleteSession(key=KEY),
            CreateSession(key=KEY),
        )
        assert plan.results[3] == SessionDeleted(1)
        assert plan.results[4] == SessionCreated(KEY, NOW)
        assert plan.events == []


class TestRefusedBeforeEvaluation:
    @pytest.mark.parametrize(
        ("operation", "field"),
        [
            (append(), "events"),
            (append(*["e"] * (MAX_EVENTS_PER_APPEND + 1)), "events"),
            (append("a", at=-1), "expected_revision"),
            (append("a", event("b", author="")), "events[1].author"),
            (append(msgspec.Raw(b"5")), "events[0].event"),
            (append(event("a", seq=1)), "events[0].event"),
            (CreateSession(key=KEY, state={"": msgspec.Raw(b"1")}), "state key"),
            (CreateSession(key=KEY, state={"x": msgspec.Raw(b"1e999")}), "state"),
            (UpdateState(key=KEY), "delta"),
            (UpdateState(key=KEY, delete=["\x00"]), "delete key"),
            (UpdateState(key=KEY, delta=raw_state(x=1), delete=["x"]), "delete"),
            (
                UpdateState(key=KEY, delta={"x": msgspec.Raw(b"[" * 999 + b"]" * 999)}),
                "delta",
            ),
        ],
    )
    def test_the_error_names_the_field(self, operation: SessionOperation, field: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            decode(operation)
        assert caught.value.field == field

    @pytest.mark.parametrize(
        "operation",
        [
            CreateSession(key=KEY, state=raw_state(x="x" * MAX_STATE_BYTES)),
            UpdateState(key=KEY, delta=raw_state(x="x" * MAX_STATE_BYTES)),
        ],
    )
    def test_the_worker_holds_state_to_the_clients_limit(self, operation: SessionOperation) -> None:
        with pytest.raises(TooLarge) as caught:
            decode(operation)
        assert caught.value.limit == MAX_STATE_BYTES

    def test_an_append_at_its_limits_passes(self) -> None:
        deep = msgspec.json.decode(b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH)
        events = [event(f"e{n}", content=deep) for n in range(MAX_EVENTS_PER_APPEND)]
        plan = run([row()], append(*events))
        assert plan.results[0] == appended(
            1, *((f"e{n}", n + 1) for n in range(MAX_EVENTS_PER_APPEND))
        )
