"""Listing sessions, page by page."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest

from api_client import Event, InvalidRequest, SessionKey, SessionSummary, StorageClient
from api_client.contract.operations import Order
from tests.support.workers import Stack


def create(client: StorageClient, app: str, count: int, users: int = 1) -> list[SessionKey]:
    """Sessions that two workers may create in any order, because none waits for another."""
    keys = [SessionKey(app, f"user-{n % users}", f"{n:04}") for n in range(count)]
    for receipt in [client.sessions.create(key) for key in keys]:
        receipt.result()
    return keys


def create_in_order(client: StorageClient, app: str, count: int) -> list[SessionKey]:
    """Sessions in the order of their creation."""
    keys = [SessionKey(app, "user-0", f"{n:04}") for n in range(count)]
    for key in keys:
        client.sessions.create(key).result()
    return keys


def pages(
    client: StorageClient, app: str, user: str | None, order: Order, limit: int
) -> list[list[SessionKey]]:
    found: list[list[SessionKey]] = []
    cursor = None
    while True:
        page = client.sessions.list(app, user, order=order, limit=limit, cursor=cursor).result()
        found.append([summary.key for summary in page])
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_an_app_without_sessions(client: StorageClient, app: str) -> None:
    page = client.sessions.list(app).result()
    assert (page.items, page.next_cursor, len(page)) == ([], None, 0)


def test_by_app_and_by_user(client: StorageClient, app: str) -> None:
    keys = [SessionKey(app, f"user-{n % 3}", f"{n * 5 % 9}") for n in range(9)]
    for key in keys:
        client.sessions.create(key).result()
    create(client, f"{app}-2", 2)
    assert [s.key for s in client.sessions.list(app).result()] == keys[::-1]
    assert [s.key for s in client.sessions.list(app, order="oldest").result()] == keys
    for user in ("user-0", "user-1", "user-2"):
        own = [key for key in keys if key.user == user]
        assert [s.key for s in client.sessions.list(app, user).result()] == own[::-1]
        assert [s.key for s in client.sessions.list(app, user, order="oldest").result()] == own
    assert client.sessions.list(app, "nobody").result().items == []


def test_sessions_created_without_waiting_are_all_listed(client: StorageClient, app: str) -> None:
    keys = [SessionKey(app, f"user-{n % 3}", f"{n * 7919 % 50:04}") for n in range(50)]
    for key in keys:
        client.sessions.create(key)
    assert sorted(s.key for s in client.sessions.list(app).result()) == sorted(keys)


def test_paging_over_250_sessions_misses_and_repeats_none(client: StorageClient, app: str) -> None:
    keys = create(client, app, 260, users=2)
    orders: tuple[Order, ...] = ("newest", "oldest")
    for order in orders:
        whole = [s.key for s in client.sessions.list(app, order=order, limit=1000).result()]
        assert sorted(whole) == sorted(keys)
        for user in (None, "user-1"):
            wanted = [key for key in whole if user in (None, key.user)]
            for limit in (100, 37, 130):
                found = pages(client, app, user, order, limit)
                assert [key for page in found for key in page] == wanted
                assert {len(page) for page in found[:-1]} <= {limit}
                assert len(found) == -(-len(wanted) // limit)


def test_the_default_page_holds_the_newest_100(client: StorageClient, app: str) -> None:
    keys = create_in_order(client, app, 101)
    page = client.sessions.list(app).result()
    assert [summary.key for summary in page] == keys[:0:-1]
    rest = client.sessions.list(app, cursor=page.next_cursor).result()
    assert [summary.key for summary in rest] == keys[:1]
    assert rest.next_cursor is None


def test_summaries(client: StorageClient, key: SessionKey) -> None:
    state = {"own": 1, "user:x": None, "app:x": {"y": "\x00"}}
    client.sessions.create(key, state=state).result()
    client.sessions.append(key, [Event(author="a"), Event(author="a")]).result()
    client.sessions.append(key, Event(author="a")).result()
    loaded = client.sessions.load(key).result()
    expected = SessionSummary(
        key=key,
        revision=2,
        created_at=loaded.created_at,
        updated_at=loaded.updated_at,
        last_event_at=loaded.events[-1].timestamp,
    )
    assert client.sessions.list(key.app).result().items == [expected]
    expected.state = state
    assert client.sessions.list(key.app, state=True).result().items == [expected]


def test_a_session_without_events_has_no_last_one(client: StorageClient, key: SessionKey) -> None:
    client.sessions.create(key).result()
    client.sessions.update_state(key, {"k": 1}).result()
    (summary,) = client.sessions.list(key.app).result()
    assert summary.last_event_at is None


def test_states_in_a_listing_are_each_sessions_own(client: StorageClient, app: str) -> None:
    keys = [SessionKey(app, user, session) for user in "ab" for session in "xyz"]
    for key in keys:
        state = {"own": f"{key.user}{key.session}", f"user:{key.user}": 1}
        client.sessions.create(key, state=state)
    client.sessions.update_state(keys[0], {"app:shared": True}, delete=["own"])
    listed = {s.key: s.state for s in client.sessions.list(app, state=True).result()}
    expected = {
        key: {
            "own": f"{key.user}{key.session}",
            f"user:{key.user}": 1,
            "app:shared": True,
        }
        for key in keys
    }
    del expected[keys[0]]["own"]
    assert listed == expected


def test_a_listing_waits_for_this_clients_writes(client: StorageClient, app: str) -> None:
    keys = [SessionKey(app, "user", str(n)) for n in range(5)]
    for key in keys:
        client.sessions.create(key)
    client.sessions.append(keys[0], Event(author="a", state_delta={"app:x": 1}))
    client.sessions.delete(keys[1])
    listed = client.sessions.list(app, state=True).result()
    revisions = {summary.key: summary.revision for summary in listed}
    assert revisions == {keys[0]: 1, **dict.fromkeys(keys[2:], 0)}
    assert [summary.state for summary in listed] == [{"app:x": 1}] * 4


def test_sessions_made_and_deleted_while_paging(client: StorageClient, app: str) -> None:
    keys = create_in_order(client, app, 10)
    newest = client.sessions.list(app, limit=4).result()
    oldest = client.sessions.list(app, limit=4, order="oldest").result()
    late = SessionKey(app, "user-0", "late")
    client.sessions.create(late).result()
    for gone in (keys[3], keys[6], keys[8]):
        client.sessions.delete(gone).result()
    rest = client.sessions.list(app, cursor=newest.next_cursor).result()
    assert [summary.key for summary in rest] == [keys[n] for n in (5, 4, 2, 1, 0)]
    rest = client.sessions.list(app, order="oldest", cursor=oldest.next_cursor).result()
    assert [summary.key for summary in rest] == [*(keys[n] for n in (4, 5, 7, 9)), late]


def test_a_recreated_session_counts_as_new(client: StorageClient, app: str) -> None:
    first, second = create(client, app, 2)
    client.sessions.delete(first).result()
    client.sessions.create(first).result()
    assert [s.key for s in client.sessions.list(app).result()] == [first, second]


def test_a_session_recreated_without_waiting_counts_as_new(client: StorageClient, app: str) -> None:
    first, second = create(client, app, 2)
    assert len(client.sessions.list(app).result()) == 2
    # The first write is on its way while the others gather, and so leave in one message.
    client.sessions.append(first, Event(author="a"))
    client.sessions.delete(first)
    client.sessions.create(first)
    listed = client.sessions.list(app).result()
    created = {summary.key: summary.created_at for summary in listed}
    assert created[first] > created[second]
    assert [summary.key for summary in listed] == [first, second]


def test_a_cursor_of_the_other_order_is_refused(client: StorageClient, app: str) -> None:
    create(client, app, 3)
    cursor = client.sessions.list(app, limit=1, order="newest").result().next_cursor
    with pytest.raises(InvalidRequest) as caught:
        client.sessions.list(app, limit=1, order="oldest", cursor=cursor).result()
    assert caught.value.field == "cursor"


def test_a_cursor_of_somebody_elses_making_is_refused(stack: Stack, app: str) -> None:
    texts = ("newest:", "newest:x", "newest:1.5", f"newest:{2**63}", f"newest:-{2**70}", ":1")
    made = [urlsafe_b64encode(text.encode()).decode() for text in texts]
    # A short time to read in, because a worker that fails gives no reply at all.
    with stack.open(read_timeout=5.0) as client:
        receipts = [
            client.sessions.list(app, cursor=cursor) for cursor in ("x", "!!!!", "é", *made)
        ]
        for receipt in receipts:
            error = receipt.exception()
            assert type(error) is InvalidRequest
            assert error.field == "cursor"


def test_a_cursor_shows_no_sessions_of_others(client: StorageClient, app: str) -> None:
    create(client, app, 3)
    other = create_in_order(client, f"{app}-2", 3)
    cursor = client.sessions.list(app, limit=1, order="oldest").result().next_cursor
    listed = client.sessions.list(f"{app}-2", order="oldest", cursor=cursor).result()
    assert [summary.key for summary in listed] == other
