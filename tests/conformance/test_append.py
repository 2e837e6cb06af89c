"""Appending events: order, duplicates, compare-and-set, and what comes back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from api_client import (
    Conflict,
    Event,
    EventsAppended,
    InvalidRequest,
    NotFound,
    Receipt,
    SessionKey,
    StorageClient,
)
from api_client.contract.limits import MAX_JSON_DEPTH
from tests.conformance.conftest import EXACT, nested
from tests.support.workers import Stack

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def ids(client: StorageClient, key: SessionKey) -> list[str]:
    return [event.id for event in client.sessions.load(key).result().events]


def seqs(client: StorageClient, key: SessionKey) -> list[int]:
    return [event.seq for event in client.sessions.load(key).result().events]


def test_one_event(client: StorageClient, session: SessionKey) -> None:
    event = Event(author="agent", content={"text": "hi"})
    appended = client.sessions.append(session, event).result()
    assert appended.revision == appended.seq == 1
    assert [(e.id, e.seq, e.duplicate) for e in appended.events] == [(event.id, 1, False)]
    loaded = client.sessions.load(session).result()
    assert loaded.revision == 1
    assert [(e.id, e.seq, e.author, e.content) for e in loaded.events] == [
        (event.id, 1, "agent", {"text": "hi"})
    ]


def test_many_events_at_once(client: StorageClient, session: SessionKey) -> None:
    first = client.sessions.append(session, [Event(author="a", id=f"a{n}") for n in range(3)])
    assert first.result().revision == 1
    events = [Event(author="b", id=f"b{n}") for n in range(1000)]
    second = client.sessions.append(session, events).result()
    assert second.revision == 2
    assert second.seq == 1003
    assert [e.seq for e in second.events] == [*range(4, 1004)]
    assert ids(client, session) == ["a0", "a1", "a2", *(event.id for event in events)]
    assert seqs(client, session) == [*range(1, 1004)]


def test_everything_of_an_event_comes_back(client: StorageClient, session: SessionKey) -> None:
    event = Event(
        author="agent",
        content=[1],
        state_delta={"user:a": {"b": None}},
        state_delete=["c", "app:d"],
        id="the id",
        timestamp=NOON.replace(microsecond=123456),
        invocation_id="the run",
    )
    client.sessions.append(session, event).result()
    (loaded,) = client.sessions.load(session).result().events
    for field in Event.__struct_fields__:
        assert getattr(loaded, field) == getattr(event, field), field
    assert loaded.seq == 1


def test_content_comes_back_exactly(client: StorageClient, session: SessionKey) -> None:
    for name, value in EXACT.items():
        event = Event(author="agent", id=name, content=value, state_delta={"x": value})
        client.sessions.append(session, event)
    loaded = client.sessions.load(session).result()
    assert [event.id for event in loaded.events] == [*EXACT]
    for event in loaded.events:
        # As JSON text, because 1 == 1.0 == True and dicts compare without their order.
        assert json.dumps(event.content) == json.dumps(EXACT[event.id]), event.id
        assert json.dumps(event.state_delta) == json.dumps({"x": EXACT[event.id]}), event.id


def test_content_may_be_nested_as_deep_as_the_limit(
    client: StorageClient, session: SessionKey
) -> None:
    depths = range(MAX_JSON_DEPTH - 6, MAX_JSON_DEPTH + 1)
    receipts = [
        client.sessions.append(session, Event(author="agent", content=nested(depth)))
        for depth in depths
    ]
    assert [receipt.exception() for receipt in receipts] == [None] * len(depths)
    loaded = client.sessions.load(session).result()
    assert [event.content for event in loaded.events] == [nested(depth) for depth in depths]


def test_tuples_come_back_as_lists(client: StorageClient, session: SessionKey) -> None:
    client.sessions.append(session, Event(author="agent", content=(1, ("a",)))).result()
    assert client.sessions.load(session).result().events[0].content == [1, ["a"]]


@pytest.mark.parametrize(
    "timestamp",
    [
        datetime(1, 1, 1, tzinfo=timezone.utc),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(2026, 1, 1, tzinfo=timezone(-timedelta(hours=9, minutes=30))),
        datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=1))),
    ],
    ids=str,
)
def test_timestamps_come_back_as_the_same_instant(
    client: StorageClient, session: SessionKey, timestamp: datetime
) -> None:
    client.sessions.append(session, Event(author="agent", timestamp=timestamp)).result()
    (loaded,) = client.sessions.load(session).result().events
    assert loaded.timestamp.astimezone(timezone.utc) == timestamp.astimezone(timezone.utc)


@pytest.mark.parametrize(
    "timestamp",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=12))),
    ],
    ids=str,
)
def test_timestamps_outside_the_calendar_in_utc_are_refused(
    stack: Stack, app: str, timestamp: datetime
) -> None:
    # A client of its own: a message that no worker can apply would be sent again and again.
    client, key = stack.open(wait_timeout=5.0), SessionKey(app, "user", "session")
    try:
        client.sessions.create(key).result()
        with pytest.raises(InvalidRequest) as caught:
            client.sessions.append(key, Event(author="agent", timestamp=timestamp)).result()
        assert caught.value.field in ("events[0].timestamp", "timestamp")
    finally:
        client.close(0.0)


def test_adk_fault_nul_raises_a_driver_error(client: StorageClient, session: SessionKey) -> None:
    event = Event(author="agent", content="a\x00b", state_delta={"x": {"\x00": "\x00"}})
    assert client.sessions.append(session, event).exception() is None
    loaded = client.sessions.load(session).result()
    assert loaded.events[0].content == "a\x00b"
    assert loaded.state == {"x": {"\x00": "\x00"}}


def test_seed_fault_order_by_whole_second_timestamps(
    client: StorageClient, session: SessionKey
) -> None:
    names = [f"{n * 7919 % 50:02}" for n in range(50)]
    client.sessions.append(
        session, [Event(author="agent", id=name, timestamp=NOON) for name in names]
    ).result()
    assert ids(client, session) == names


def test_adk_fault_a_late_clock_reorders_history(
    client: StorageClient, session: SessionKey
) -> None:
    for n in range(10):
        late = Event(author="agent", id=str(n), timestamp=NOON - timedelta(hours=n))
        client.sessions.append(session, late)
    assert ids(client, session) == [str(n) for n in range(10)]


def test_appends_issued_without_waiting_keep_their_order(
    client: StorageClient, session: SessionKey
) -> None:
    receipts = [
        client.sessions.append(session, Event(author="agent", id=str(n))) for n in range(300)
    ]
    assert [receipt.result().seq for receipt in receipts] == [*range(1, 301)]
    assert [receipt.result().revision for receipt in receipts] == [*range(1, 301)]
    assert ids(client, session) == [str(n) for n in range(300)]


def test_adk_fault_two_writers_on_one_session_fail_as_stale(
    clients: list[StorageClient], session: SessionKey
) -> None:
    def write(number: int) -> list[EventsAppended]:
        receipts = [
            clients[number].sessions.append(
                session,
                [Event(author=str(number), id=f"{number}-{n}-{part}") for part in "ab"],
            )
            for n in range(60)
        ]
        return [receipt.result() for receipt in receipts]

    with ThreadPoolExecutor(len(clients)) as pool:
        outcomes = list(pool.map(write, range(len(clients))))
    loaded = client_events = clients[0].sessions.load(session).result()
    count = 60 * 2 * len(clients)
    assert [event.seq for event in loaded.events] == [*range(1, count + 1)]
    assert loaded.revision == 60 * len(clients)
    for number, own in enumerate(outcomes):
        stored = [event.id for event in client_events.events if event.author == str(number)]
        assert stored == [f"{number}-{n}-{part}" for n in range(60) for part in "ab"]
        # Both events of an append are neighbours, and where the outcome says.
        places = {event.id: event.seq for event in loaded.events}
        for outcome in own:
            first, second = outcome.events
            assert second.seq == first.seq + 1
            assert places[first.id] == first.seq


def test_seed_fault_a_duplicate_event_id_is_an_error(
    client: StorageClient, session: SessionKey
) -> None:
    first = Event(author="agent", id="same", content=1, state_delta={"x": 1, "app:x": 1})
    second = Event(author="other", id="same", content=2, state_delta={"x": 2, "y": 2, "app:x": 2})
    client.sessions.append(session, first).result()
    client.sessions.append(session, Event(author="agent", id="next")).result()
    again = client.sessions.append(session, second).result()
    assert [(e.id, e.seq, e.duplicate) for e in again.events] == [("same", 1, True)]
    assert again.revision == 2
    loaded = client.sessions.load(session).result()
    assert [(event.id, event.content) for event in loaded.events] == [("same", 1), ("next", None)]
    assert loaded.state == {"x": 1, "app:x": 1}
    assert loaded.revision == 2


def test_duplicates_within_one_append(client: StorageClient, session: SessionKey) -> None:
    events = [
        Event(author="agent", id="a", content=1, state_delta={"x": 1}),
        Event(author="agent", id="b", content=2),
        Event(author="agent", id="a", content=3, state_delta={"x": 3}),
        Event(author="agent", id="c", content=4),
    ]
    appended = client.sessions.append(session, events).result()
    assert [(e.id, e.seq, e.duplicate) for e in appended.events] == [
        ("a", 1, False),
        ("b", 2, False),
        ("a", 1, True),
        ("c", 3, False),
    ]
    loaded = client.sessions.load(session).result()
    assert [(e.id, e.content, e.seq) for e in loaded.events] == [
        ("a", 1, 1),
        ("b", 2, 2),
        ("c", 4, 3),
    ]
    assert loaded.state == {"x": 1}


def test_new_events_beside_duplicates_are_stored(
    client: StorageClient, session: SessionKey
) -> None:
    client.sessions.append(session, [Event(author="agent", id=name) for name in "ab"]).result()
    mixed = [Event(author="agent", id=name) for name in "bcad"]
    appended = client.sessions.append(session, mixed).result()
    assert [(e.id, e.seq, e.duplicate) for e in appended.events] == [
        ("b", 2, True),
        ("c", 3, False),
        ("a", 1, True),
        ("d", 4, False),
    ]
    assert appended.revision == 2
    assert ids(client, session) == ["a", "b", "c", "d"]


def test_duplicates_issued_without_waiting(client: StorageClient, session: SessionKey) -> None:
    receipts = [
        client.sessions.append(session, Event(author="agent", id=str(n % 5), content=n))
        for n in range(50)
    ]
    for n, receipt in enumerate(receipts):
        (entry,) = receipt.result().events
        assert (entry.seq, entry.duplicate) == (n % 5 + 1, n >= 5)
    loaded = client.sessions.load(session).result()
    assert [event.content for event in loaded.events] == [0, 1, 2, 3, 4]


def test_adk_fault_the_same_event_from_several_clients(
    clients: list[StorageClient], session: SessionKey
) -> None:
    names = [str(n) for n in range(20)]

    def write(number: int) -> list[EventsAppended]:
        receipts = [
            clients[number].sessions.append(session, Event(author=str(number), id=name))
            for name in names
        ]
        return [receipt.result() for receipt in receipts]

    with ThreadPoolExecutor(len(clients)) as pool:
        outcomes = list(pool.map(write, range(len(clients))))
    loaded = clients[0].sessions.load(session).result()
    assert sorted(event.id for event in loaded.events) == sorted(names)
    places = {event.id: (event.seq, event.author) for event in loaded.events}
    for index, name in enumerate(names):
        entries = [own[index].events[0] for own in outcomes]
        assert {entry.seq for entry in entries} == {places[name][0]}
        winners = [str(n) for n, entry in enumerate(entries) if not entry.duplicate]
        assert winners == [places[name][1]]


def test_the_same_event_id_in_another_session_is_no_duplicate(
    client: StorageClient, session: SessionKey
) -> None:
    other = SessionKey(session.app, session.user, "other")
    client.sessions.create(other).result()
    for key in (session, other):
        (entry,) = client.sessions.append(key, Event(author="a", id="same")).result().events
        assert (entry.seq, entry.duplicate) == (1, False)


def test_event_ids_are_told_apart_exactly(client: StorageClient, session: SessionKey) -> None:
    names = ["a", "A", "a ", " a", "é", "e\u0301", "a/b", "a\\b", "😀"]
    appended = client.sessions.append(session, [Event(author="a", id=name) for name in names])
    assert not any(entry.duplicate for entry in appended.result().events)
    assert ids(client, session) == names


def test_an_event_as_loaded_is_a_duplicate(client: StorageClient, session: SessionKey) -> None:
    client.sessions.append(session, Event(author="agent", content=1)).result()
    loaded = client.sessions.load(session).result()
    (entry,) = client.sessions.append(session, loaded.events).result().events
    assert (entry.seq, entry.duplicate) == (1, True)
    other = SessionKey(session.app, session.user, "copy")
    client.sessions.create(other).result()
    client.sessions.append(other, loaded.events).result()
    assert client.sessions.load(other).result().events == loaded.events


class TestExpectedRevision:
    def test_the_right_one(self, client: StorageClient, session: SessionKey) -> None:
        for n in range(3):
            event = Event(author="agent")
            appended = client.sessions.append(session, event, expected_revision=n).result()
            assert appended.revision == n + 1

    def test_adk_fault_a_stale_write_is_accepted(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        first = Event(author="agent", id="first", timestamp=NOON)
        client.sessions.append(session, first, expected_revision=0).result()
        stale = Event(author="agent", timestamp=NOON, state_delta={"x": 1, "app:x": 1})
        for wrong in (0, 2, 2**63 - 1):
            with pytest.raises(Conflict) as caught:
                client.sessions.append(session, stale, expected_revision=wrong).result()
            assert caught.value.code == "conflict"
            assert caught.value.field == "expected_revision"
        loaded = client.sessions.load(session).result()
        assert [event.id for event in loaded.events] == ["first"]
        assert loaded.state == {}
        assert loaded.revision == 1

    def test_a_refused_append_stores_none_of_its_events(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        events = [Event(author="agent", id=str(n)) for n in range(5)]
        refused = client.sessions.append(session, events, expected_revision=7)
        assert isinstance(refused.exception(), Conflict)
        assert ids(client, session) == []
        # What was refused has not been seen.
        again = client.sessions.append(session, events, expected_revision=0).result()
        assert [entry.duplicate for entry in again.events] == [False] * 5

    def test_a_repeated_append_is_a_duplicate_not_a_conflict(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        event = Event(author="agent")
        client.sessions.append(session, event, expected_revision=0).result()
        again = client.sessions.append(session, event, expected_revision=0).result()
        assert again.events[0].duplicate
        assert again.revision == 1

    def test_of_concurrent_writers_exactly_one_wins_each_round(
        self, clients: list[StorageClient], session: SessionKey
    ) -> None:
        for revision in range(5):
            receipts: list[Receipt[EventsAppended]] = [
                client.sessions.append(session, Event(author="agent"), expected_revision=revision)
                for client in clients
            ]
            errors = [receipt.exception() for receipt in receipts]
            assert errors.count(None) == 1
            assert {type(error) for error in errors if error is not None} == {Conflict}
        assert seqs(clients[0], session) == [1, 2, 3, 4, 5]

    def test_state_updates_do_not_change_it(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        client.sessions.update_state(session, {"x": 1}).result()
        client.sessions.append(session, Event(author="agent"), expected_revision=0).result()

    def test_it_does_not_create_a_session(self, client: StorageClient, key: SessionKey) -> None:
        with pytest.raises(NotFound):
            client.sessions.append(key, Event(author="agent"), expected_revision=0).result()


class TestPartialEvents:
    def test_seed_fault_partial_events_are_stored(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        events = [
            Event(author="agent", id="1", partial=True, state_delta={"x": 1}),
            Event(author="agent", id="2"),
            Event(author="agent", id="3", partial=True, state_delta={"app:x": 1}),
            Event(author="agent", id="4"),
        ]
        appended = client.sessions.append(session, events).result()
        assert [(e.id, e.seq) for e in appended.events] == [("2", 1), ("4", 2)]
        loaded = client.sessions.load(session).result()
        assert [event.id for event in loaded.events] == ["2", "4"]
        assert loaded.state == {}

    def test_partial_events_alone(self, client: StorageClient, session: SessionKey) -> None:
        receipt = client.sessions.append(session, Event(author="agent", partial=True))
        assert receipt.accepted.result() is None
        appended = receipt.result()
        assert (appended.revision, appended.events, appended.seq) == (None, [], None)
        loaded = client.sessions.load(session).result()
        assert (loaded.revision, loaded.events) == (0, [])

    def test_the_id_of_a_partial_event_has_not_been_seen(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        parts = [Event(author="agent", id="same", partial=True) for _ in range(3)]
        whole = Event(author="agent", id="same", content="whole")
        appended = client.sessions.append(session, [*parts, whole]).result()
        assert [(e.id, e.seq, e.duplicate) for e in appended.events] == [("same", 1, False)]
        assert client.sessions.load(session).result().events[0].content == "whole"
