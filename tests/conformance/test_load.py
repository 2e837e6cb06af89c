"""Loading sessions, whole and in part."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from api_client import Event, SessionKey, StorageClient
from api_client.contract.limits import MAX_EVENT_BYTES, MAX_EVENTS_PER_REPLY
from tests.support.waiting import wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


#: Bounds on ten events, an hour apart, and the seqs within them.
BOUNDS: list[tuple[dict[str, Any], Iterable[int]]] = [
    ({}, range(1, 11)),
    ({"last": 0}, []),
    ({"last": 1}, [10]),
    ({"last": 3}, [8, 9, 10]),
    ({"last": 10}, range(1, 11)),
    ({"last": 11}, range(1, 11)),
    ({"last": 2**63 - 1}, range(1, 11)),
    ({"after_seq": 0}, range(1, 11)),
    ({"after_seq": 7}, [8, 9, 10]),
    ({"after_seq": 10}, []),
    ({"after_seq": 2**63 - 1}, []),
    ({"after_time": NOON}, range(1, 11)),
    ({"after_time": NOON + timedelta(hours=7)}, [8, 9, 10]),
    ({"after_time": NOON + timedelta(hours=8, microseconds=-1)}, [8, 9, 10]),
    ({"after_time": NOON + timedelta(hours=10)}, []),
    ({"after_time": datetime(1, 1, 1, tzinfo=timezone.utc)}, range(1, 11)),
    ({"after_time": datetime.max.replace(tzinfo=timezone.utc)}, []),
    ({"after_time": datetime(2026, 1, 2, 2, tzinfo=timezone(timedelta(hours=5)))}, [10]),
    ({"last": 2, "after_seq": 5}, [9, 10]),
    ({"last": 9, "after_seq": 5}, range(6, 11)),
    ({"last": 0, "after_seq": 5}, []),
    ({"last": 2, "after_time": NOON + timedelta(hours=5)}, [9, 10]),
    ({"last": 9, "after_time": NOON + timedelta(hours=8)}, [9, 10]),
    ({"after_seq": 3, "after_time": NOON + timedelta(hours=6)}, range(7, 11)),
    ({"after_seq": 6, "after_time": NOON + timedelta(hours=3)}, range(7, 11)),
    ({"last": 2, "after_seq": 6, "after_time": NOON + timedelta(hours=3)}, [9, 10]),
    ({"events": False}, []),
    ({"events": False, "last": 3, "after_seq": 1}, []),
]


def test_bounds(client: StorageClient, session: SessionKey) -> None:
    events = [
        Event(author="agent", id=str(n), timestamp=NOON + timedelta(hours=n)) for n in range(1, 11)
    ]
    client.sessions.append(session, events)
    client.sessions.update_state(session, {"x": 1, "user:x": 2, "app:x": 3})
    receipts = [client.sessions.load(session, **bounds) for bounds, _ in BOUNDS]
    for (bounds, expected), receipt in zip(BOUNDS, receipts, strict=True):
        loaded = receipt.result()
        assert [event.seq for event in loaded.events] == [*expected], bounds
        assert [event.id for event in loaded.events] == [str(seq) for seq in expected], bounds
        # What is not an event is the same, whatever the bounds.
        assert loaded.key == session
        assert loaded.state == {"x": 1, "user:x": 2, "app:x": 3}
        assert loaded.revision == 1


def test_after_time_goes_by_the_events_own_clock(
    client: StorageClient, session: SessionKey
) -> None:
    hours = [5, 1, 4, 2, 3]
    for hour in hours:
        event = Event(author="agent", id=str(hour), timestamp=NOON + timedelta(hours=hour))
        client.sessions.append(session, event)
    after = NOON + timedelta(hours=2)
    loaded = client.sessions.load(session, after_time=after).result()
    assert [event.id for event in loaded.events] == ["5", "4", "3"]
    loaded = client.sessions.load(session, after_time=after, last=2).result()
    assert [event.id for event in loaded.events] == ["4", "3"]


def test_tailing_by_seq_misses_and_repeats_nothing(
    client: StorageClient, session: SessionKey
) -> None:
    seen: list[str] = []
    seq = 0
    for turn in range(5):
        names = [f"{turn}-{n}" for n in range(turn)]
        for name in names:
            client.sessions.append(session, Event(author="agent", id=name))
        new = client.sessions.load(session, after_seq=seq).result().events
        assert [event.id for event in new] == names
        seen += names
        seq = new[-1].seq if new else seq
    assert seq == len(seen) == 10


def test_more_events_than_fit_in_a_reply_by_number(
    client: StorageClient, session: SessionKey
) -> None:
    count = MAX_EVENTS_PER_REPLY + 500
    events = [
        Event(author="a", id=str(n), timestamp=NOON + timedelta(seconds=n))
        for n in range(1, count + 1)
    ]
    for start in range(0, count, 1000):
        client.sessions.append(session, events[start : start + 1000])
    loaded = client.sessions.load(session).result()
    assert [event.seq for event in loaded.events] == [*range(1, count + 1)]
    assert [event.id for event in loaded.events] == [event.id for event in events]
    assert loaded.revision == 6
    parts: list[tuple[dict[str, Any], int]] = [
        ({"last": MAX_EVENTS_PER_REPLY}, 501),
        ({"last": MAX_EVENTS_PER_REPLY + 1}, 500),
        ({"last": MAX_EVENTS_PER_REPLY + 400, "after_seq": 300}, 301),
        ({"after_time": NOON + timedelta(seconds=20)}, 21),
    ]
    for bounds, first in parts:
        part = client.sessions.load(session, **bounds).result()
        assert [event.seq for event in part.events] == [*range(first, count + 1)], bounds


def test_more_events_than_fit_in_a_reply_by_size(
    client: StorageClient, session: SessionKey
) -> None:
    text = "x" * (3 * 1024 * 1024 // 2)
    for n in range(1, 8):
        client.sessions.append(session, Event(author="agent", content=[n, text]))
    loaded = client.sessions.load(session).result()
    assert [event.seq for event in loaded.events] == [*range(1, 8)]
    assert all(event.content == [event.seq, text] for event in loaded.events)
    loaded = client.sessions.load(session, last=6).result()
    assert [event.seq for event in loaded.events] == [*range(2, 8)]
    loaded = client.sessions.load(session, after_seq=1, last=20).result()
    assert [event.seq for event in loaded.events] == [*range(2, 8)]


def test_events_as_large_as_the_limit(client: StorageClient, session: SessionKey) -> None:
    timestamp = NOON
    empty = Event(author="a", id="0", timestamp=timestamp, content="")
    # The client measures the event as JSON, with its fields in short form.
    overhead = len('{"author":"a","content":"","id":"0","timestamp":"2026-01-01T12:00:00Z"}')
    text = "x" * (MAX_EVENT_BYTES - overhead)
    client.sessions.append(session, Event(author="a", id="0", timestamp=timestamp, content=text))
    client.sessions.append(session, Event(author="a", id="1", timestamp=timestamp, content=text))
    loaded = client.sessions.load(session).result()
    assert [(event.seq, len(event.content)) for event in loaded.events] == [
        (1, len(text)),
        (2, len(text)),
    ]
    assert empty.content == ""


def test_a_load_waits_for_this_clients_writes(client: StorageClient, key: SessionKey) -> None:
    client.sessions.create(key)
    for n in range(1, 31):
        client.sessions.append(
            key, Event(author="agent", state_delta={"n": n, "app:n": n, "user:n": n})
        )
        if n % 10 == 0:
            loaded = client.sessions.load(key, last=1).result()
            assert loaded.revision == n
            assert loaded.events[0].seq == n
            assert loaded.state == {"n": n, "app:n": n, "user:n": n}


def test_a_load_is_one_moment_while_others_write(
    clients: list[StorageClient], session: SessionKey
) -> None:
    writer, reader = clients[:2]
    done = threading.Event()

    def write() -> None:
        receipts = [
            writer.sessions.append(session, Event(author="agent", state_delta={"n": n}))
            for n in range(1, 301)
        ]
        for receipt in receipts:
            receipt.result()
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    loads = 0
    while not done.is_set() or loads < 3:
        loaded = reader.sessions.load(session).result()
        assert [event.seq for event in loaded.events] == [*range(1, loaded.revision + 1)]
        assert loaded.state.get("n", 0) == loaded.revision
        loads += 1
    thread.join()
    assert reader.sessions.load(session).result().revision == 300


def test_what_was_loaded_does_not_wait_for_the_garbage_collector(
    client: StorageClient, session: SessionKey
) -> None:
    gc.disable()
    try:
        receipt = client.sessions.load(session)
        receipt.result()
        known = weakref.ref(receipt)
        del receipt
        wait_until(lambda: known() is None, "the receipt is gone")
    finally:
        gc.enable()
