"""Creating, deleting and telling sessions apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from api_client import (
    AlreadyExists,
    ArtifactKey,
    Event,
    NotFound,
    Receipt,
    SessionKey,
    StorageClient,
)
from api_client.contract.limits import MAX_ID_BYTES
from tests.conformance.conftest import NASTY

Call = Callable[[StorageClient, SessionKey], Receipt[Any]]

CALLS: dict[str, Call] = {
    "load": lambda client, key: client.sessions.load(key),
    "append": lambda client, key: client.sessions.append(key, Event(author="intruder")),
    "append_with_state": lambda client, key: client.sessions.append(
        key, Event(author="intruder", state_delta={"app:seen": 1, "user:seen": 1, "seen": 1})
    ),
    "update_state": lambda client, key: client.sessions.update_state(
        key, {"app:seen": 1, "user:seen": 1, "seen": 1}, delete=["gone"]
    ),
    "delete": lambda client, key: client.sessions.delete(key),
}


def test_a_created_session_is_empty(client: StorageClient, key: SessionKey) -> None:
    created = client.sessions.create(key).result()
    session = client.sessions.load(key).result()
    assert created.key == session.key == key
    assert session.events == []
    assert session.state == {}
    assert session.revision == 0
    assert session.created_at == session.updated_at == created.created_at
    assert session.created_at.utcoffset() == timedelta(0)


def test_new_keys_differ(client: StorageClient, app: str) -> None:
    keys = {SessionKey.new(app, "user") for _ in range(100)}
    assert len(keys) == 100


def test_seed_fault_create_pretends_success_for_an_existing_session(
    client: StorageClient, key: SessionKey
) -> None:
    client.sessions.create(key, state={"n": 1}).result()
    client.sessions.append(key, Event(id="one", author="user")).result()
    with pytest.raises(AlreadyExists) as caught:
        client.sessions.create(key, state={"n": 2, "app:n": 2, "user:n": 2}).result()
    assert caught.value.code == "already_exists"
    assert caught.value.field == "key"
    assert "session" in caught.value.message
    session = client.sessions.load(key).result()
    assert session.state == {"n": 1}
    assert [event.id for event in session.events] == ["one"]


def test_of_concurrent_creates_exactly_one_wins(clients: list[StorageClient], app: str) -> None:
    keys = [SessionKey(app, "user", f"session-{n}") for n in range(20)]
    start = threading.Barrier(len(clients))

    def create_all(number: int) -> list[Receipt[Any]]:
        start.wait()
        return [clients[number].sessions.create(key, state={"winner": number}) for key in keys]

    with ThreadPoolExecutor(len(clients)) as pool:
        receipts = list(pool.map(create_all, range(len(clients))))
    for index, key in enumerate(keys):
        errors = [own[index].exception() for own in receipts]
        assert errors.count(None) == 1
        assert {type(error) for error in errors if error is not None} == {AlreadyExists}
        state = clients[0].sessions.load(key, events=False).result().state
        assert state == {"winner": errors.index(None)}


def test_adk_fault_concurrent_creates_lose_shared_state_keys(
    clients: list[StorageClient], app: str
) -> None:
    start = threading.Barrier(len(clients))

    def create_some(number: int) -> list[Receipt[Any]]:
        start.wait()
        return [
            clients[number].sessions.create(
                SessionKey(app, "user", f"session-{number}-{n}"),
                state={f"app:{number}-{n}": n, f"user:{number}-{n}": n},
            )
            for n in range(7)
        ]

    with ThreadPoolExecutor(len(clients)) as pool:
        for receipts in pool.map(create_some, range(len(clients))):
            for receipt in receipts:
                receipt.result()
    state = clients[0].sessions.load(SessionKey(app, "user", "session-0-0")).result().state
    places = [(number, n) for number in range(len(clients)) for n in range(7)]
    expected = {f"app:{number}-{n}": n for number, n in places}
    expected |= {f"user:{number}-{n}": n for number, n in places}
    assert state == expected


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_session_that_is_not_there(client: StorageClient, key: SessionKey, call: Call) -> None:
    with pytest.raises(NotFound) as caught:
        call(client, key).result()
    assert caught.value.code == "not_found"
    assert caught.value.field == "key"
    assert client.sessions.list(key.app).result().items == []


def test_seed_fault_not_found_looks_like_database_failure(
    client: StorageClient, key: SessionKey
) -> None:
    error = client.sessions.load(key).exception()
    assert type(error) is NotFound
    for name in (key.app, key.user, key.session):
        assert repr(name) in error.message


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("other", ["app", "user"])
def test_seed_fault_append_by_session_id_alone_reaches_another_tenant(
    client: StorageClient, app: str, other: str, call: Call
) -> None:
    key = SessionKey(app, "user", "session")
    foreign = SessionKey(f"{app}-2", "user", "session")
    if other == "user":
        foreign = SessionKey(app, "user-2", "session")
    client.sessions.create(key, state={"n": 1, "user:n": 1}).result()
    client.sessions.append(key, Event(id="one", author="user")).result()
    before = client.sessions.load(key).result()
    with pytest.raises(NotFound):
        call(client, foreign).result()
    assert client.sessions.load(key).result() == before
    assert client.sessions.list(foreign.app, foreign.user).result().items == []
    # Had the delta reached the scopes of the foreign session, its first user would see it.
    client.sessions.create(foreign).result()
    assert client.sessions.load(foreign).result().state == {}


def test_seed_fault_sessions_ignore_app_and_user(client: StorageClient, app: str) -> None:
    keys = [
        SessionKey(one, user, "session")
        for one in (app, f"{app}-2")
        for user in ("user", "user-2", "session")
    ]
    for n, key in enumerate(keys):
        client.sessions.create(key, state={"n": n}).result()
        client.sessions.append(key, Event(id="same", author="user", content=n)).result()
    for n, key in enumerate(keys):
        session = client.sessions.load(key).result()
        assert session.state == {"n": n}
        assert [(event.id, event.content, event.seq) for event in session.events] == [
            ("same", n, 1)
        ]


def test_seed_fault_ids_joined_into_paths_or_folded_together(
    client: StorageClient, app: str
) -> None:
    names = [name for name in NASTY if len(name.encode()) <= 256]
    keys = [SessionKey(app, "user", name) for name in names]
    keys += [SessionKey(app, name, "session") for name in names if name != "user"]
    for key in keys:
        client.sessions.create(key, state={"own": [key.user, key.session]})
    for key in keys:
        client.sessions.append(key, Event(author=key.session, content=key.user))
    receipts = [client.sessions.load(key) for key in keys]
    for key, receipt in zip(keys, receipts, strict=True):
        session = receipt.result()
        assert session.state == {"own": [key.user, key.session]}
        assert [(event.author, event.content) for event in session.events] == [
            (key.session, key.user)
        ]
    gone = SessionKey(app, "user", "..")
    client.sessions.delete(gone).result()
    listed = [summary.key for summary in client.sessions.list(app, limit=1000).result()]
    assert sorted(listed) == sorted(key for key in keys if key != gone)


def test_ids_may_be_nasty_app_names_too(client: StorageClient, app: str) -> None:
    names = [f"{app}{name}" for name in NASTY if len(name.encode()) <= 200]
    for name in names:
        client.sessions.create(SessionKey(name, "user", "session"), state={"app:own": name})
    for name in names:
        assert client.sessions.list(name).result().items[0].key.app == name
        loaded = client.sessions.load(SessionKey(name, "user", "session")).result()
        assert loaded.state == {"app:own": name}


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀"])
def test_ids_may_be_as_long_as_the_limit(client: StorageClient, app: str, letter: str) -> None:
    widest = letter * (MAX_ID_BYTES // len(letter.encode()))
    fitting = letter * ((MAX_ID_BYTES - len(app)) // len(letter.encode()))
    key = SessionKey(app + fitting, widest, widest)
    client.sessions.create(key).result()
    client.sessions.append(key, Event(id=widest, author=widest, invocation_id=widest)).result()
    assert client.sessions.load(key).result().events[0].id == widest


def test_delete_takes_events_and_state_and_leaves_shared_state(
    client: StorageClient, key: SessionKey
) -> None:
    client.sessions.create(key, state={"own": 1, "user:shared": 2, "app:shared": 3}).result()
    client.sessions.append(key, [Event(author="user") for _ in range(3)]).result()
    deleted = client.sessions.delete(key).result()
    assert deleted.events == 3
    with pytest.raises(NotFound):
        client.sessions.load(key).result()
    with pytest.raises(NotFound):
        client.sessions.delete(key).result()
    assert client.sessions.list(key.app).result().items == []
    other = SessionKey(key.app, key.user, "other")
    client.sessions.create(other).result()
    assert client.sessions.load(other).result().state == {"user:shared": 2, "app:shared": 3}


def test_delete_leaves_other_sessions_and_artifacts(client: StorageClient, key: SessionKey) -> None:
    other = SessionKey(key.app, key.user, "other")
    for each in (key, other):
        client.sessions.create(each, state={"own": each.session}).result()
        client.sessions.append(each, Event(id="one", author="user")).result()
    name = ArtifactKey(key.app, key.user, key.session, "kept.txt")
    client.artifacts.save(name, "kept").result()
    client.sessions.delete(key).result()
    session = client.sessions.load(other).result()
    assert session.state == {"own": "other"}
    assert [event.id for event in session.events] == ["one"]
    assert client.artifacts.load(name).result().text == "kept"


def test_a_recreated_session_starts_anew(client: StorageClient, key: SessionKey) -> None:
    first = client.sessions.create(key, state={"own": 1}).result()
    client.sessions.append(key, [Event(id=name, author="user") for name in "abc"]).result()
    client.sessions.delete(key).result()
    second = client.sessions.create(key).result()
    assert second.created_at > first.created_at
    appended = client.sessions.append(key, Event(id="c", author="user")).result()
    assert appended.revision == 1
    assert [(event.id, event.seq, event.duplicate) for event in appended.events] == [
        ("c", 1, False)
    ]
    session = client.sessions.load(key).result()
    assert session.state == {}
    assert session.revision == 1
    assert session.created_at == second.created_at
    assert [event.id for event in session.events] == ["c"]


def test_of_concurrent_deletes_exactly_one_wins(
    clients: list[StorageClient], session: SessionKey
) -> None:
    receipts = [client.sessions.delete(session) for client in clients]
    errors = [receipt.exception() for receipt in receipts]
    assert errors.count(None) == 1
    assert {type(error) for error in errors if error is not None} == {NotFound}


def test_seed_fault_every_connection_to_memory_is_another_database(
    client: StorageClient, app: str
) -> None:
    def use(n: int) -> tuple[int, int]:
        key = SessionKey(app, f"user-{n}", "session")
        client.sessions.create(key).result()
        client.sessions.append(key, Event(author="user")).result()
        return (
            len(client.sessions.load(key).result().events),
            len(client.sessions.list(app, key.user).result()),
        )

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(use, range(32))) == [(1, 1)] * 32
    assert len(client.sessions.list(app).result()) == 32


def test_updated_at_follows_the_changes(client: StorageClient, session: SessionKey) -> None:
    times = [client.sessions.load(session).result().updated_at]
    client.sessions.append(session, Event(author="user")).result()
    times.append(client.sessions.load(session).result().updated_at)
    client.sessions.update_state(session, {"n": 1}).result()
    loaded = client.sessions.load(session).result()
    times.append(loaded.updated_at)
    assert times == sorted(set(times))
    assert loaded.created_at == times[0]
