"""What one client issues is applied in the order of issue, and waited for where it matters."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api_client import (
    AlreadyExists,
    ArtifactKey,
    Conflict,
    Event,
    NotFound,
    Receipt,
    SessionKey,
    StorageClient,
    Unavailable,
)
from api_client.contract.records import new_id
from tests.support.workers import Stack


def named(receipt: Receipt[Any]) -> Any:
    """An outcome in short: the error's type, or what tells outcomes apart."""
    error = receipt.exception()
    if error is not None:
        return type(error)
    result = receipt.result()
    for field in ("seq", "versions", "events", "revision"):
        if hasattr(result, field):
            return getattr(result, field)
    return "created"


def test_a_sequence_issued_without_waiting(client: StorageClient, key: SessionKey) -> None:
    sessions = client.sessions
    receipts: list[Receipt[Any]] = [
        sessions.append(key, Event(author="a")),
        sessions.create(key, state={"n": 1}),
        sessions.create(key, state={"n": 2}),
        sessions.append(key, Event(author="a", id="x", state_delta={"n": 3})),
        sessions.append(key, [Event(author="a", id="y"), Event(author="a", id="x")]),
        sessions.append(key, Event(author="a"), expected_revision=1),
        sessions.append(key, Event(author="a"), expected_revision=2),
        sessions.update_state(key, {"m": 1}, delete=["n"]),
        sessions.delete(key),
        sessions.append(key, Event(author="a")),
        sessions.update_state(key, {"m": 2}),
        sessions.delete(key),
        sessions.create(key, state={"k": 1}),
        sessions.append(key, Event(author="a", id="x")),
    ]
    assert [named(receipt) for receipt in receipts] == [
        NotFound,
        "created",
        AlreadyExists,
        1,
        1,  # the last of its events is a duplicate of the first
        Conflict,
        3,
        3,
        3,
        NotFound,
        NotFound,
        NotFound,
        "created",
        1,
    ]
    loaded = client.sessions.load(key).result()
    assert loaded.state == {"k": 1}
    assert [(event.id, event.seq) for event in loaded.events] == [("x", 1)]


def test_many_sessions_at_once_end_as_a_plain_model_does(client: StorageClient, app: str) -> None:
    chance = random.Random(7)
    keys = [SessionKey(app, f"user-{n % 3}", f"session-{n}") for n in range(12)]
    model: dict[SessionKey, list[str]] = {}
    shared: dict[str, Any] = {}
    issued: list[tuple[Receipt[Any], type | None]] = []
    for step in range(600):
        key = chance.choice(keys)
        there = key in model
        match chance.randrange(10):
            case 0:
                issued.append((client.sessions.create(key), AlreadyExists if there else None))
                model.setdefault(key, [])
            case 1 if chance.random() < 0.3:
                issued.append((client.sessions.delete(key), None if there else NotFound))
                model.pop(key, None)
            case 2:
                name = f"user:{step % 4}"
                receipt = client.sessions.update_state(key, {name: step})
                issued.append((receipt, None if there else NotFound))
                if there:
                    shared[f"{key.user} {name}"] = step
            case _:
                event = Event(author="a", id=str(step), state_delta={"app:last": step})
                issued.append((client.sessions.append(key, event), None if there else NotFound))
                if there:
                    model[key].append(str(step))
                    shared["app:last"] = step
    for number, (receipt, error) in enumerate(issued):
        assert type(receipt.exception()) is (error or type(None)), number
    for key in keys:
        if key not in model:
            assert isinstance(client.sessions.load(key).exception(), NotFound)
            continue
        loaded = client.sessions.load(key).result()
        assert [event.id for event in loaded.events] == model[key]
        expected = {"app:last": shared["app:last"]}
        for name in ("user:0", "user:1", "user:2", "user:3"):
            if f"{key.user} {name}" in shared:
                expected[name] = shared[f"{key.user} {name}"]
        assert loaded.state == expected
    listed = {summary.key for summary in client.sessions.list(app, limit=1000).result()}
    assert listed == model.keys()


@pytest.mark.parametrize("scope", ["app:", "user:"])
def test_shared_state_keeps_the_last_value_issued(
    client: StorageClient, app: str, scope: str
) -> None:
    keys = [SessionKey(app, "user", f"session-{n}") for n in range(4)]
    for key in keys:
        client.sessions.create(key)
    for n in range(100):
        client.sessions.append(
            keys[n % 4], Event(author="a", state_delta={f"{scope}n": n, f"{scope}{n % 7}": n})
        )
    state = client.sessions.load(keys[0], events=False).result().state
    assert state == {f"{scope}n": 99} | {f"{scope}{n % 7}": n for n in range(93, 100)}


def test_artifacts_and_their_deletion(client: StorageClient, app: str) -> None:
    keys = [ArtifactKey(app, "user", session, "user:x") for session in ("one", "two")]
    save, delete = client.artifacts.save, client.artifacts.delete
    large = b"x" * 100_000
    receipts: list[Receipt[Any]] = [
        delete(keys[0]),
        save(keys[0], large),
        save(keys[1], b"y"),
        delete(keys[0], version=1),
        delete(keys[1], version=1),
        save(keys[0], large),
        delete(keys[1], version=2),
    ]
    outcomes: list[Any] = [receipt.exception() or receipt.result() for receipt in receipts]
    assert isinstance(outcomes[0], NotFound)
    assert outcomes[1:3] == [1, 2]
    assert outcomes[3].versions == [1]
    assert isinstance(outcomes[4], NotFound)
    assert outcomes[5] == 3
    assert outcomes[6].versions == [2]
    assert client.artifacts.load(keys[1]).result().data == large


def test_a_failure_in_between_blocks_nothing(client: StorageClient, key: SessionKey) -> None:
    receipts: list[Receipt[Any]] = [client.sessions.create(key)]
    for n in range(30):
        receipts.append(client.sessions.append(key, Event(author="a", id=str(n))))
        receipts.append(
            client.sessions.append(key, Event(author="a", id=f"bad {n}"), expected_revision=10**6)
        )
    errors = [type(receipt.exception()) for receipt in receipts]
    assert errors == [type(None), *[type(None), Conflict] * 30]
    loaded = client.sessions.load(key).result()
    assert [event.id for event in loaded.events] == [str(n) for n in range(30)]


def test_each_thread_of_a_client_keeps_its_order(
    client: StorageClient, session: SessionKey
) -> None:
    def write(thread: int) -> None:
        for n in range(40):
            client.sessions.append(session, Event(author=str(thread), id=f"{thread}-{n}"))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    loaded = client.sessions.load(session).result()
    assert [event.seq for event in loaded.events] == [*range(1, 241)]
    for thread in range(6):
        own = [event.id for event in loaded.events if event.author == str(thread)]
        assert own == [f"{thread}-{n}" for n in range(40)]


def test_reads_wait_for_this_clients_writes(client: StorageClient, app: str) -> None:
    for n in range(1, 11):
        key = SessionKey(app, "user", f"session-{n}")
        name = ArtifactKey(app, "user", key.session, "a" if n % 2 else "user:a")
        data = bytes([n]) * (100_000 if n % 3 == 0 else 10)
        client.sessions.create(key)
        client.sessions.append(key, [Event(author="a")] * 1)
        client.artifacts.save(name, data)
        loaded = client.artifacts.load(name)
        versions = client.artifacts.versions(name)
        artifacts = client.artifacts.list(key)
        events = client.sessions.load(key)
        sessions = client.sessions.list(app, "user")
        client.sessions.append(key, Event(author="a"))
        assert loaded.result().data == data
        assert loaded.result().version == versions.result()[-1].version
        assert name.name in [version.name for version in artifacts.result()]
        assert events.result().revision >= 1
        assert len(sessions.result()) == n


class TestFlush:
    def test_after_it_nothing_is_pending(self, client: StorageClient, app: str) -> None:
        client.flush()
        for turn in range(100):
            key = SessionKey(app, "user", str(turn))
            receipts: list[Receipt[Any]] = [
                client.sessions.create(key),
                client.sessions.append(key, Event(author="a")),
            ]
            if turn % 10 == 0:
                name = ArtifactKey(app, "user", key.session, "a")
                receipts.append(client.artifacts.save(name, b"x" * 100_000))
            assert client.flush() == 0
            assert client.pending == 0
            assert all(receipt.done() for receipt in receipts)

    def test_it_also_waits_for_failures(self, client: StorageClient, key: SessionKey) -> None:
        receipts = [client.sessions.append(key, Event(author="a")) for _ in range(20)]
        assert client.flush() == 0
        assert all(receipt.done() for receipt in receipts)
        assert all(isinstance(receipt.exception(), NotFound) for receipt in receipts)


class TestClose:
    def test_it_sends_what_is_held_and_leaves_nothing(
        self, stack: Stack, key: SessionKey, tmp_path: Path
    ) -> None:
        client = stack.open(tmp_path / "outbox.db")
        receipts: list[Receipt[Any]] = [client.sessions.create(key)]
        receipts += [client.sessions.append(key, Event(author="a")) for _ in range(50)]
        name = ArtifactKey(key.app, key.user, key.session, "a")
        receipts.append(client.artifacts.save(name, b"x" * 200_000))
        assert client.close() == 0
        assert client.pending == 0
        assert [receipt.exception() for receipt in receipts] == [None] * 52
        assert client.close() == 0
        reopened = stack.open(tmp_path / "outbox.db")
        assert reopened.pending == 0
        assert reopened.close() == 0

    def test_what_was_accepted_is_there_for_the_next_client(
        self, stack: Stack, clients: list[StorageClient], key: SessionKey, tmp_path: Path
    ) -> None:
        client = stack.open(tmp_path / "outbox.db")
        client.sessions.create(key)
        last = [client.sessions.append(key, Event(author="a")) for _ in range(20)][-1]
        assert last.accepted.result() is None
        assert client.close() == 0
        reader = clients[0] if stack.shared else None
        if reader is not None:
            assert reader.sessions.load(key).result().revision == 20
        assert last.result().seq == 20

    def test_it_ends_the_client(self, stack: Stack, key: SessionKey) -> None:
        with stack.open() as client:
            client.sessions.create(key).result()
        for call in (
            lambda: client.sessions.append(key, Event(author="a")),
            lambda: client.sessions.load(key),
            lambda: client.artifacts.save(ArtifactKey("a", "u", "s", "n"), b"x" * 100_000),
            lambda: client.artifacts.save(ArtifactKey("a", "u", "s", "n"), b"x"),
        ):
            with pytest.raises(Unavailable, match="closed"):
                call()
        assert client.pending == 0
        # It has nothing to wait for, and so does not wait.
        left: list[int] = []
        flush = threading.Thread(target=lambda: left.append(client.flush(3600.0)), daemon=True)
        flush.start()
        flush.join(5.0)
        assert left == [0]


def test_status_knows_the_messages_of_receipts(client: StorageClient, key: SessionKey) -> None:
    receipts: list[Receipt[Any]] = [
        client.sessions.create(key),
        client.sessions.append(key, Event(author="a")),
        client.sessions.append(key, Event(author="a"), expected_revision=9),
    ]
    for receipt in receipts:
        receipt.exception()
    ids = list(dict.fromkeys(receipt.message_id or "" for receipt in receipts))
    unknown = new_id()
    states = client.status([*ids, unknown]).result()
    assert [state.message_id for state in states] == [*ids, unknown]
    assert [state.applied for state in states] == [True] * len(ids) + [False]
    codes = [o.error and o.error.code for state in states for o in state.outcomes]
    assert codes == [None, None, "conflict"]
