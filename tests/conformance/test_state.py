"""State in its three scopes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api_client import Event, InvalidRequest, SessionKey, StorageClient
from api_client.contract.limits import MAX_STATE_KEY_BYTES
from tests.conformance.conftest import EXACT, NASTY


def state_of(client: StorageClient, key: SessionKey) -> dict[str, Any]:
    return client.sessions.load(key, events=False).result().state


def test_initial_state_lives_in_three_scopes(client: StorageClient, key: SessionKey) -> None:
    state = {"own": 1, "user:tier": "pro", "app:theme": "dark"}
    client.sessions.create(key, state=state).result()
    assert state_of(client, key) == state
    others = {
        SessionKey(key.app, key.user, "other"): {"user:tier": "pro", "app:theme": "dark"},
        SessionKey(key.app, "other", key.session): {"app:theme": "dark"},
        SessionKey(f"{key.app}-2", key.user, key.session): {},
    }
    for other, expected in others.items():
        client.sessions.create(other).result()
        assert state_of(client, other) == expected


def test_seed_fault_state_delta_is_never_applied(
    client: StorageClient, session: SessionKey
) -> None:
    events = [
        Event(author="agent", state_delta={"step": 1, "first": True, "user:u": 1, "app:a": 1}),
        Event(author="agent", state_delta={"step": 2, "user:u": [2]}),
    ]
    client.sessions.append(session, events[0]).result()
    assert state_of(client, session) == {"step": 1, "first": True, "user:u": 1, "app:a": 1}
    client.sessions.append(session, events[1]).result()
    assert state_of(client, session) == {"step": 2, "first": True, "user:u": [2], "app:a": 1}


def test_deltas_of_one_append_apply_in_order(client: StorageClient, session: SessionKey) -> None:
    events = [
        Event(author="agent", state_delta={"x": 1, "y": 1, "app:x": 1}),
        Event(author="agent", state_delete=["x", "y", "app:x"]),
        Event(author="agent", state_delta={"x": 3, "user:x": 3}),
    ]
    client.sessions.append(session, events).result()
    assert state_of(client, session) == {"x": 3, "user:x": 3}


def test_update_state_sets_and_deletes(client: StorageClient, session: SessionKey) -> None:
    client.sessions.append(session, Event(author="user")).result()
    set_ = client.sessions.update_state(session, {"a": 1, "b": 2, "user:c": 3, "app:d": 4}).result()
    assert set_.revision == 1
    updated = client.sessions.update_state(
        session, {"a": 10}, delete=["b", "user:c", "app:d"]
    ).result()
    assert updated.revision == 1
    loaded = client.sessions.load(session).result()
    assert loaded.state == {"a": 10}
    assert loaded.revision == 1
    assert len(loaded.events) == 1


@pytest.mark.parametrize("name", ["x", "user:x", "app:x"])
def test_deletion_is_explicit_and_null_is_a_value(
    client: StorageClient, session: SessionKey, name: str
) -> None:
    client.sessions.update_state(session, {name: None}).result()
    assert state_of(client, session) == {name: None}
    client.sessions.append(session, Event(author="agent", state_delta={name: 0})).result()
    assert state_of(client, session) == {name: 0}
    client.sessions.append(session, Event(author="agent", state_delta={name: None})).result()
    assert state_of(client, session) == {name: None}
    client.sessions.append(session, Event(author="agent", state_delete=[name])).result()
    assert state_of(client, session) == {}
    client.sessions.update_state(session, delete=[name, "never there"]).result()
    assert state_of(client, session) == {}


def test_a_deleted_shared_key_is_gone_for_all(client: StorageClient, key: SessionKey) -> None:
    other = SessionKey(key.app, key.user, "other")
    client.sessions.create(key, state={"user:x": 1, "app:x": 1, "x": 1}).result()
    client.sessions.create(other, state={"x": 2}).result()
    client.sessions.update_state(other, delete=["user:x", "app:x", "x"]).result()
    assert state_of(client, key) == {"x": 1}
    assert state_of(client, other) == {}


def test_nested_values_are_replaced_not_merged(client: StorageClient, session: SessionKey) -> None:
    client.sessions.update_state(session, {"d": {"a": 1, "deep": {"x": 1}}, "l": [1, 2]}).result()
    delta = {"d": {"deep": {"y": 2}}, "l": [3]}
    client.sessions.append(session, Event(author="agent", state_delta=delta)).result()
    assert state_of(client, session) == delta


def test_temporary_keys_are_never_stored(client: StorageClient, key: SessionKey) -> None:
    client.sessions.create(key, state={"temp:a": 1, "kept": 1}).result()
    event = Event(
        author="agent",
        state_delta={"temp:b": 2, "kept": 2, "temp:": 3},
        state_delete=["temp:a", "other"],
    )
    client.sessions.append(key, event).result()
    client.sessions.update_state(key, {"temp:c": 3, "also": 3}, delete=["temp:b"]).result()
    loaded = client.sessions.load(key).result()
    assert loaded.state == {"kept": 2, "also": 3}
    assert loaded.events[0].state_delta == {"kept": 2}
    assert loaded.events[0].state_delete == ["other"]
    listed = client.sessions.list(key.app, state=True).result()[0]
    assert listed.state == {"kept": 2, "also": 3}
    # The caller's own event is left as it was.
    assert event.state_delta["temp:b"] == 2


def test_an_update_of_temporary_keys_alone_changes_nothing(
    client: StorageClient, session: SessionKey
) -> None:
    before = client.sessions.load(session).result()
    assert client.sessions.update_state(session, {"temp:x": 1}).result().revision == 0
    loaded = client.sessions.load(session).result()
    assert (loaded.state, loaded.events, loaded.revision) == ({}, [], before.revision)


def test_values_come_back_exactly(client: StorageClient, session: SessionKey) -> None:
    for value in EXACT.values():
        delta = dict.fromkeys(("x", "user:x", "app:x"), value)
        client.sessions.update_state(session, delta)
        loaded = state_of(client, session)
        assert loaded.keys() == delta.keys()
        for name in delta:
            assert json.dumps(loaded[name]) == json.dumps(value)


def test_values_come_back_exactly_after_create_and_append(
    client: StorageClient, key: SessionKey
) -> None:
    client.sessions.create(key, state=EXACT).result()
    delta = {f"app:{name}": value for name, value in EXACT.items()}
    client.sessions.append(key, Event(author="agent", state_delta=delta)).result()
    expected = EXACT | delta
    loaded = state_of(client, key)
    assert {n: json.dumps(v) for n, v in loaded.items()} == {
        n: json.dumps(v) for n, v in expected.items()
    }


def test_keys_may_be_any_text(client: StorageClient, session: SessionKey) -> None:
    names = [name for name in NASTY if len(name.encode()) < 1000]
    names += [f"user:{name}" for name in names] + [f"app:{name}" for name in names]
    names += ["user:", "app:", "User:x", "user", "user::x", "app:user:x", "user:temp:x"]
    names += [f"app:{'é' * 500}", "k" * MAX_STATE_KEY_BYTES]
    state = {name: index for index, name in enumerate(names)}
    client.sessions.update_state(session, state).result()
    assert state_of(client, session) == state
    client.sessions.update_state(session, delete=names[1:]).result()
    assert state_of(client, session) == {names[0]: 0}


def test_state_may_have_many_keys(client: StorageClient, session: SessionKey) -> None:
    state = {f"{scope}{n}": n for scope in ("", "user:", "app:") for n in range(500)}
    client.sessions.update_state(session, state).result()
    assert state_of(client, session) == state
    client.sessions.update_state(session, delete=[*state]).result()
    assert state_of(client, session) == {}


def test_state_may_be_large(client: StorageClient, key: SessionKey) -> None:
    value = "x" * (1024 * 1024)
    state = {"a": value, "user:b": value, "app:c": value, "d": value[:-100]}
    client.sessions.create(key, state=state).result()
    assert state_of(client, key) == state


def test_concurrent_writers_of_different_keys_lose_nothing(
    clients: list[StorageClient], app: str
) -> None:
    def write(number: int) -> None:
        client, key = clients[number], SessionKey(app, "user", f"session-{number}")
        client.sessions.create(key).result()
        receipts = [
            client.sessions.append(
                key,
                Event(
                    author="agent",
                    state_delta={f"app:{number}-{n}": n, f"user:{number}-{n}": n, "own": n},
                ),
            )
            for n in range(30)
        ]
        for receipt in receipts:
            receipt.result()

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(write, range(len(clients))))
    expected: dict[str, int] = {"own": 29}
    for number in range(len(clients)):
        for n in range(30):
            expected |= {f"app:{number}-{n}": n, f"user:{number}-{n}": n}
    assert state_of(clients[0], SessionKey(app, "user", "session-0")) == expected


def test_concurrent_writers_of_one_key_leave_one_of_their_values(
    clients: list[StorageClient], app: str
) -> None:
    keys = [SessionKey(app, f"user-{n}", "session") for n in range(len(clients))]
    for key in keys:
        clients[0].sessions.create(key).result()
    receipts = [
        client.sessions.update_state(key, {"app:x": [number, n], "app:y": [number, n]})
        for n in range(20)
        for number, (client, key) in enumerate(zip(clients, keys, strict=True))
    ]
    for receipt in receipts:
        receipt.result()
    state = state_of(clients[0], keys[0])
    assert state["app:x"] == state["app:y"]
    assert state["app:x"] in [[number, 19] for number in range(len(clients))]
    assert [state_of(clients[0], key) for key in keys] == [state] * len(keys)


def test_shared_state_needs_no_session(client: StorageClient, key: SessionKey) -> None:
    assert client.sessions.shared_state(key.app, key.user).result() == {}
    shared = {"user:x": None, "app:x": {"y": "\x00"}}
    client.sessions.create(key, state={"own": 1, **shared})
    client.sessions.append(key, Event(author="a", state_delta={"user:later": 2, "own": 2}))
    # This client's own writes are waited for.
    expected = {**shared, "user:later": 2}
    assert client.sessions.shared_state(key.app, key.user).result() == expected
    assert client.sessions.shared_state(key.app, "another").result() == {"app:x": {"y": "\x00"}}
    assert client.sessions.shared_state(f"{key.app}-2", key.user).result() == {}
    client.sessions.delete(key).result()
    assert client.sessions.shared_state(key.app, key.user).result() == expected


@pytest.mark.parametrize(("app", "user"), [("", "u"), ("a", "\x00"), ("a", "x" * 257)])
def test_shared_state_of_names_that_cannot_be(client: StorageClient, app: str, user: str) -> None:
    with pytest.raises(InvalidRequest):
        client.sessions.shared_state(app, user)
