"""What the state machine is unlikely to meet: large batches, hostile names, threads, cursors."""

from __future__ import annotations

import hashlib
import json
import random
import string
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from api_client.contract import codec
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.limits import (
    MAX_EVENTS_PER_APPEND,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_OPERATIONS_PER_MESSAGE,
    MAX_STATE_KEY_BYTES,
)
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    MessageStatus,
    Query,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.outcomes import WriteReply
from api_client.contract.records import new_id
from tests.property.conftest import OpenStorage
from worker.database import Database, DatabaseOptions
from worker.database.rows import ROWS_PER_STATEMENT
from worker.sessions import evaluate as session_rules
from worker.sessions import store as session_store
from worker.storage import Storage
from worker.writes import Writes

KEY = SessionKey("app", "user", "session")
PATIENCE = 30.0
HOSTILE = [
    "..",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "a:b",
    "a_b",
    "100%",
    "%s %(app)s %%",
    "o'hara",
    '"quoted"',
    ":name",
    "?",
    "$1",
    "{0}",
    "; DROP TABLE sessions; --",
    "line\nbreak",
    "\U0001f600",
    "null",
]


def message(operations: Sequence[WriteOperation | bytes], message_id: str = "") -> codec.Message:
    bodies = [op if isinstance(op, bytes) else codec.encode_operation(op) for op in operations]
    return codec.decode_message(codec.encode_message(message_id or new_id(), bodies))


def plain(reply: WriteReply) -> list[Any]:
    """The outcomes: results, or the codes of errors."""
    assert reply.error is None
    assert reply.missing == []
    return [
        json.loads(bytes(one.ok)) if one.error is None else one.error.code for one in reply.outcomes
    ]


def write(storage: Storage, *operations: WriteOperation | bytes) -> list[Any]:
    """Apply operations in one call, in as many messages as they need."""
    size = MAX_OPERATIONS_PER_MESSAGE
    parts = [operations[n : n + size] for n in range(0, len(operations), size)]
    replies = storage.apply([message(part) for part in parts])
    return [outcome for reply in replies for outcome in plain(reply)]


def ask(storage: Storage, query: Query) -> Any:
    reply = storage.query(query)
    return reply.error.code if reply.error is not None else json.loads(bytes(reply.ok))


def pages(storage: Storage, query: Callable[[str | None], Query]) -> Iterator[Any]:
    cursor = None
    while True:
        page = ask(storage, query(cursor))
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def event(event_id: str, **fields: Any) -> msgspec.Raw:
    envelope = {"id": event_id, "author": "a", "timestamp": "2026-11-05T12:00:00Z"}
    return msgspec.Raw(codec.encode(envelope | fields))


def append(*events: str | msgspec.Raw, key: SessionKey = KEY) -> AppendEvents:
    return AppendEvents(key=key, events=[event(e) if isinstance(e, str) else e for e in events])


def save(name: str, data: bytes = b"x", key: SessionKey = KEY) -> SaveArtifact:
    artifact = ArtifactKey(key.app, key.user, key.session, name)
    return SaveArtifact(key=artifact, mime_type="a/b", data=data)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(codec.encode(value))


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run all works at the same moment, each in a thread; return what they return."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        start.wait(PATIENCE)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


class TestMoreRowsThanOneStatementHolds:
    COUNT = ROWS_PER_STATEMENT + 500

    def test_events(self, storage: Storage) -> None:
        ids = [f"e{n}" for n in range(self.COUNT)]
        size = MAX_EVENTS_PER_APPEND
        appends = [append(*ids[n : n + size]) for n in range(0, self.COUNT, size)]
        write(storage, CreateSession(key=KEY), *appends)

        again = write(storage, *appends)
        repeated = [entry for outcome in again for entry in outcome["events"]]
        assert [entry["seq"] for entry in repeated] == list(range(1, self.COUNT + 1))
        assert all(entry["duplicate"] for entry in repeated)
        loaded = ask(storage, LoadSession(key=KEY, last=2))
        assert [one["id"] for one in loaded["events"]] == ids[-2:]

    def test_sessions(self, storage: Storage) -> None:
        keys = [SessionKey("app", "user", f"s{n}") for n in range(self.COUNT)]
        write(storage, *(CreateSession(key=key) for key in keys))
        outcomes = write(storage, *(append("e", key=key) for key in keys))
        assert outcomes == [{"revision": 1, "events": [{"id": "e", "seq": 1}]}] * self.COUNT

        listed = pages(storage, lambda at: ListSessions(app="app", order="oldest", cursor=at))
        assert [item["key"]["session"] for item in listed] == [key.session for key in keys]

        assert (
            write(storage, *(DeleteSession(key=key) for key in keys))
            == [{"events": 1}] * self.COUNT
        )
        assert list(pages(storage, lambda at: ListSessions(app="app", cursor=at))) == []

    @pytest.mark.parametrize("prefix", ["", "user:", "app:"])
    def test_state(self, storage: Storage, prefix: str) -> None:
        state = {f"{prefix}k{n}": n for n in range(self.COUNT)}
        write(storage, CreateSession(key=KEY, state={k: raw(v) for k, v in state.items()}))
        assert ask(storage, LoadSession(key=KEY))["state"] == state

        kept = dict(list(state.items())[:5])
        write(storage, UpdateState(key=KEY, delete=[k for k in state if k not in kept]))
        assert ask(storage, LoadSession(key=KEY))["state"] == kept

    def test_artifacts_and_versions(self, storage: Storage) -> None:
        names = [f"n{n:05}" for n in range(self.COUNT)]
        write(storage, *(save(name) for name in names))
        write(storage, *(save(names[0]) for _ in names))
        listed = pages(storage, lambda at: ListArtifacts(key=KEY, cursor=at))
        assert [item["name"] for item in listed] == names

        first = save(names[0]).key
        versions = pages(storage, lambda at: ListVersions(key=first, cursor=at))
        assert [item["version"] for item in versions] == list(range(1, self.COUNT + 2))
        outcomes = write(storage, *(DeleteArtifact(key=save(name).key) for name in names))
        assert [len(outcome["versions"]) for outcome in outcomes] == [self.COUNT + 1] + [1] * (
            self.COUNT - 1
        )

    def test_messages(self, storage: Storage) -> None:
        keys = [SessionKey("app", "user", f"s{n}") for n in range(self.COUNT)]
        messages = [message([CreateSession(key=key)]) for key in keys]
        first = storage.apply(messages)
        assert storage.apply(messages[::-1]) == first[::-1]
        ids = [one.id for one in messages[:1000]]
        states = ask(storage, MessageStatus(message_ids=ids))
        assert [(one["message_id"], one["applied"]) for one in states] == [(i, True) for i in ids]


class TestNames:
    def test_any_text_names_a_session_and_its_state(self, storage: Storage) -> None:
        keys = [SessionKey(name, name, name) for name in HOSTILE]
        for key in keys:
            write(storage, CreateSession(key=key, state={key.app: raw(key.app)}))
            write(storage, append(event(key.app, content=key.app), key=key))
        for key in keys:
            loaded = ask(storage, LoadSession(key=key))
            assert [one["content"] for one in loaded["events"]] == [key.app]
            assert loaded["state"] == {key.app: key.app}
            (listed,) = ask(storage, ListSessions(app=key.app, user=key.user))["items"]
            assert listed["key"]["session"] == key.session

    def test_seed_fault_listings_show_names_that_cannot_be_loaded(self, storage: Storage) -> None:
        for name in HOSTILE:
            write(storage, save(name, name.encode()), save(f"user:{name}", b"of the user"))
        found = [
            item["name"]
            for item in pages(storage, lambda at: ListArtifacts(key=KEY, limit=3, cursor=at))
        ]
        assert sorted(found) == sorted([*HOSTILE, *(f"user:{name}" for name in HOSTILE)])
        for name in HOSTILE:
            artifact = ask(storage, LoadArtifact(key=save(name).key))
            assert msgspec.convert(artifact["data"], bytes) == name.encode()

    def test_the_longest_names_of_all_are_stored(self, storage: Storage) -> None:
        # Random, because a database may compress what it puts into an index.
        choose = random.Random(7).choices

        def long(length: int) -> str:
            return "".join(choose(string.ascii_letters + string.digits, k=length))

        key = SessionKey(*(long(MAX_ID_BYTES) for _ in range(3)))
        names = [prefix + long(MAX_STATE_KEY_BYTES - 5) for prefix in ("app:", "user:", "")]
        state = {name: raw(1) for name in names}
        name = long(MAX_NAME_BYTES)
        outcomes = write(
            storage,
            CreateSession(key=key, state=state),
            append(event(long(MAX_ID_BYTES)), key=key),
            save(name, key=key),
        )
        assert not any(isinstance(outcome, str) for outcome in outcomes)
        assert set(ask(storage, LoadSession(key=key))["state"]) == set(names)
        assert ask(storage, LoadArtifact(key=save(name, key=key).key))["name"] == name

    def test_seed_fault_append_by_session_id_alone_writes_into_another_tenants_session(
        self, storage: Storage
    ) -> None:
        own = [KEY, SessionKey("app", "other", "session"), SessionKey("other", "user", "session")]
        write(storage, CreateSession(key=own[0]))
        for other in own[1:]:
            assert (
                write(storage, append("e", key=other), DeleteSession(key=other))
                == ["not_found"] * 2
            )
            assert ask(storage, LoadSession(key=other)) == "not_found"
            write(storage, CreateSession(key=other), append(other.app + other.user, key=other))
        assert ask(storage, LoadSession(key=KEY))["events"] == []
        assert [len(ask(storage, LoadSession(key=key))["events"]) for key in own] == [0, 1, 1]

    def test_seed_fault_a_session_called_user_collides_with_user_scope(
        self, storage: Storage
    ) -> None:
        of_user = SessionKey("app", "user", "user")
        write(storage, save("user:x", b"of the user"), save("x", b"of the session", of_user))
        listed = ask(storage, ListArtifacts(key=of_user))["items"]
        assert [item["name"] for item in listed] == ["user:x", "x"]
        assert ask(storage, LoadArtifact(key=save("x").key)) == "not_found"


class TestOrder:
    def test_seed_fault_order_by_whole_second_timestamps(self, storage: Storage) -> None:
        times = ["12:00:01Z", "12:00:00.9Z", "12:00:00.1Z", "11:00:00Z", "12:00:00.1Z"]
        events = [event(f"e{n}", timestamp=f"2026-11-05T{at}") for n, at in enumerate(times)]
        write(storage, CreateSession(key=KEY), append(*events[:2]), *map(append, events[2:]))
        loaded = ask(storage, LoadSession(key=KEY))["events"]
        assert [one["id"] for one in loaded] == [f"e{n}" for n in range(5)]
        assert [one["seq"] for one in loaded] == [1, 2, 3, 4, 5]

    def test_a_session_created_anew_in_one_message_is_the_newest(self, storage: Storage) -> None:
        other = SessionKey("app", "user", "other")
        write(storage, CreateSession(key=KEY), append("old"))
        write(storage, CreateSession(key=other))
        state = {"k": raw(1), "app:k": raw(2)}
        write(storage, DeleteSession(key=KEY), CreateSession(key=KEY, state=state), append("new"))
        listed = ask(storage, ListSessions(app="app", order="oldest"))["items"]
        assert [item["key"]["session"] for item in listed] == ["other", "session"]
        loaded = ask(storage, LoadSession(key=KEY))
        assert [one["id"] for one in loaded["events"]] == ["new"]
        assert loaded["state"] == {"k": 1, "app:k": 2}

    def test_sessions_created_anew_do_not_take_one_anothers_place(self, storage: Storage) -> None:
        # A database may give a row id again that has just become free.
        keys = [SessionKey("app", "user", name) for name in "cabd"]
        write(storage, *(CreateSession(key=key) for key in keys))
        anew: list[WriteOperation] = []
        for key in keys[::-1]:
            state = {"mine": raw(key.session)}
            anew += [DeleteSession(key=key), CreateSession(key=key, state=state)]
            anew += [append(event(key.session), key=key)]
        write(storage, *anew)
        for key in keys:
            loaded = ask(storage, LoadSession(key=key))
            assert [one["id"] for one in loaded["events"]] == [key.session]
            assert loaded["state"] == {"mine": key.session}


class TestOneBadOperationAmongGoodOnes:
    """It gets its error; it must never keep its message from being applied."""

    TOO_EARLY = event("bad", timestamp="0001-01-01T00:00:00+01:00")
    TOO_LATE = event("bad", timestamp="9999-12-31T23:59:59-01:00")

    @pytest.mark.parametrize(
        "bad",
        [
            append(TOO_EARLY),
            append(TOO_LATE),
            append(event("bad", content=10**1200)),
            append(msgspec.Raw(bytes(event("bad"))[:-1] + b',"content":1e999}')),
            append(msgspec.Raw(bytes(event("bad"))[:-1] + b',"content":' + b"9" * 5000 + b"}")),
            UpdateState(key=KEY, delta={"k": msgspec.Raw(b"[" * 200 + b"]" * 200)}),
            SaveArtifact(
                key=save("n").key, mime_type="a/b", data=b"", metadata={"k": msgspec.Raw(b"1e999")}
            ),
        ],
        ids=["early", "late", "long number", "infinite", "too long a number", "deep", "metadata"],
    )
    def test_its_neighbours_are_applied(self, storage: Storage, bad: WriteOperation) -> None:
        create, outcome, after = write(storage, CreateSession(key=KEY), bad, append("after"))
        assert not isinstance(create, str)
        assert outcome == "invalid_request" or not isinstance(outcome, str)
        assert not isinstance(after, str)
        loaded = ask(storage, LoadSession(key=KEY))
        assert loaded["events"][-1]["id"] == "after"

    @pytest.mark.parametrize("delta", [timedelta(hours=1), -timedelta(hours=1)])
    def test_a_time_without_a_place_in_utc_is_no_failure_of_the_database(
        self, storage: Storage, delta: timedelta
    ) -> None:
        write(storage, CreateSession(key=KEY), append("e"))
        extreme = datetime.min if delta > timedelta() else datetime.max
        when = extreme.replace(tzinfo=timezone(delta))
        found = ask(storage, LoadSession(key=KEY, after_time=when))
        assert found == "invalid_request" or len(found["events"]) == (extreme == datetime.min)


def cursor(position: str | bytes) -> str:
    text = position if isinstance(position, bytes) else position.encode()
    return urlsafe_b64encode(text).decode()


class TestCursors:
    """A cursor that this listing did not return is refused by a typed error."""

    @pytest.mark.parametrize(
        "bad",
        [
            "x",
            "é",
            "=",
            "!!!!",
            cursor(""),
            cursor("newest:"),
            cursor("newest:one"),
            cursor("oldest:1"),
            cursor(b"\xff"),
            cursor("newest:" + "9" * 30),
            cursor("newest:" + "9" * 3000),
            cursor("newest:\x00"),
        ],
    )
    def test_of_sessions(self, storage: Storage, bad: str) -> None:
        assert ask(storage, ListSessions(app="app", cursor=bad)) == "invalid_request"

    @pytest.mark.parametrize("bad", ["x", "é", "=", cursor(""), cursor(b"\xff"), cursor("a\x00")])
    def test_of_artifacts(self, storage: Storage, bad: str) -> None:
        assert ask(storage, ListArtifacts(key=KEY, cursor=bad)) == "invalid_request"

    @pytest.mark.parametrize(
        "bad", ["x", "é", cursor(""), cursor("one"), cursor("0"), cursor("9" * 30), cursor("-1")]
    )
    def test_of_versions(self, storage: Storage, bad: str) -> None:
        assert ask(storage, ListVersions(key=save("n").key, cursor=bad)) == "invalid_request"

    @pytest.mark.parametrize(
        "query",
        [
            LoadSession(key=KEY, last=-1),
            LoadSession(key=KEY, after_seq=2**63),
            LoadSession(key=KEY, before_seq=-1),
            LoadSession(key=KEY, after_time=datetime(2026, 1, 1)),
            ListSessions(app=""),
            ListSessions(app="a", user="\x00"),
            ListSessions(app="a", limit=0),
            ListSessions(app="a", limit=1001),
            LoadArtifact(key=save("n").key, version=0),
            LoadArtifact(key=save("n").key, start=-1),
            LoadArtifact(key=save("n").key, length=-1),
            ListArtifacts(key=KEY, limit=0),
            ListVersions(key=save("n").key, limit=2**70),
            MessageStatus(message_ids=["not an id"]),
            MessageStatus(message_ids=[new_id()] * 1001),
        ],
    )
    def test_other_bounds_are_refused_likewise(self, storage: Storage, query: Query) -> None:
        write(storage, CreateSession(key=KEY))
        assert ask(storage, query) == "invalid_request"

    @pytest.mark.parametrize(
        "query",
        [
            LoadSession(key=KEY, last=2**63 - 1),
            LoadSession(key=KEY, after_seq=2**63 - 1, before_seq=2**63 - 1),
            LoadArtifact(key=save("n").key, start=2**63 - 1),
            LoadArtifact(key=save("n").key, version=1, length=0),
        ],
    )
    def test_the_largest_bounds_are_taken(self, storage: Storage, query: Query) -> None:
        write(storage, CreateSession(key=KEY), save("n"))
        assert not isinstance(ask(storage, query), str)


class TestMessageIds:
    def test_one_applied_before_is_answered_also_beside_another_of_its_id(
        self, storage: Storage
    ) -> None:
        applied = message([CreateSession(key=KEY)])
        other = message([DeleteSession(key=KEY)], applied.id)
        (recorded,) = storage.apply([applied])
        for order in ([applied, other], [other, applied]):
            replies = dict(zip(map(id, order), storage.apply(order), strict=True))
            assert replies[id(applied)] == recorded
            error = replies[id(other)].error
            assert error is not None
            assert error.code == "conflict"
        assert ask(storage, LoadSession(key=KEY))["revision"] == 0

    def test_a_message_applied_before_needs_its_staged_bytes_no_more(
        self, storage: Storage
    ) -> None:
        blob = hashlib.sha256(b"staged").hexdigest()
        operation = b'{"op":"artifact.save","mime_type":"a/b","key":%b,"blob":%b}' % (
            codec.encode(save("n").key),
            codec.encode({"sha256": blob, "size": 6}),
        )
        staged = message([operation])
        assert storage.apply([staged]) == [WriteReply(missing=[blob])]
        storage.blobs.put(blob, 6, [b"staged"])
        first = storage.apply([staged])
        storage.blobs.delete(blob)
        assert storage.apply([staged]) == first
        assert plain(first[0])[0]["version"] == 1

    def test_no_messages_at_all(self, storage: Storage) -> None:
        assert storage.apply([]) == []


class TestThreads:
    def test_appends_of_many_get_one_place_each(self, storage: Storage) -> None:
        write(storage, CreateSession(key=KEY))

        def appending(name: str) -> Callable[[], list[Any]]:
            return lambda: [write(storage, append(f"{name}{n}"))[0] for n in range(10)]

        outcomes = [o for found in together(*map(appending, "abcd")) for o in found]
        seqs = [one["events"][0]["seq"] for one in outcomes]
        assert sorted(seqs) == list(range(1, 41))
        loaded = ask(storage, LoadSession(key=KEY))
        assert loaded["revision"] == 40
        for name in "abcd":
            own = [one["id"] for one in loaded["events"] if one["id"].startswith(name)]
            assert own == [f"{name}{n}" for n in range(10)]

    def test_seed_fault_create_pretends_success_for_an_existing_session(
        self, storage: Storage
    ) -> None:
        found = together(*[lambda: write(storage, CreateSession(key=KEY))[0]] * 6)
        assert sorted(isinstance(outcome, str) for outcome in found) == [False] + [True] * 5
        assert found.count("already_exists") == 5

    def test_seed_fault_read_max_then_create_versions_race_and_lose_data(
        self, storage: Storage
    ) -> None:
        def saving(name: str) -> Callable[[], list[int]]:
            def work() -> list[int]:
                data = [f"{name}{n}".encode() for n in range(6)]
                return [write(storage, save("n", one))[0]["version"] for one in data]

            return work

        numbers = [number for found in together(*map(saving, "abcd")) for number in found]
        assert sorted(numbers) == list(range(1, 25))
        contents = set()
        for number in numbers:
            artifact = ask(storage, LoadArtifact(key=save("n").key, version=number))
            contents.add(msgspec.convert(artifact["data"], bytes))
        assert contents == {f"{name}{n}".encode() for name in "abcd" for n in range(6)}

    def test_shared_state_set_by_many_creates_at_once_is_kept_whole(self, storage: Storage) -> None:
        def creating(number: int) -> Callable[[], list[Any]]:
            state = {f"app:k{number}": raw(number), f"user:k{number}": raw(number)}
            key = SessionKey("app", "user", f"s{number}")
            return lambda: write(storage, CreateSession(key=key, state=state))

        together(*map(creating, range(8)))
        state = ask(storage, LoadSession(key=SessionKey("app", "user", "s0")))["state"]
        expected = {f"{scope}:k{n}": n for scope in ("app", "user") for n in range(8)}
        assert state == expected

    def test_the_same_message_sent_to_many_workers_is_applied_once(self, storage: Storage) -> None:
        write(storage, CreateSession(key=KEY))
        copies = message([append("e"), save("n")])
        replies = together(*[lambda: storage.apply([copies])] * 6)
        assert all(reply == replies[0] for reply in replies)
        assert ask(storage, LoadSession(key=KEY))["revision"] == 1
        assert len(ask(storage, ListVersions(key=save("n").key))["items"]) == 1

    def test_two_that_lock_the_same_sessions_in_opposite_order_both_go_through(
        self, storage: Storage
    ) -> None:
        keys = [SessionKey("app", "user", f"s{n}") for n in range(6)]

        def working(order: Iterable[SessionKey], name: str) -> Callable[[], list[Any]]:
            batch: list[WriteOperation] = []
            for key in order:
                delta = {f"app:{key.session}": raw(1)}
                batch += [CreateSession(key=key), append(event(name, state_delta=delta), key=key)]
            return lambda: write(storage, *batch)

        together(working(keys, "a"), working(keys[::-1], "b"), working(keys, "c"))
        for key in keys:
            loaded = ask(storage, LoadSession(key=key))
            assert {one["id"] for one in loaded["events"]} == {"a", "b", "c"}


def test_a_session_that_another_creates_anew_is_never_not_found(open_postgres: OpenStorage) -> None:
    # Given a transaction that has deleted a session and created it anew, not yet committed,
    storage = open_postgres()
    storage.close()
    storage = Storage(storage.database, storage.blobs, patience=20.0)
    write(storage, CreateSession(key=KEY))
    operations = (DeleteSession(key=KEY), CreateSession(key=KEY))
    with ThreadPoolExecutor(1) as pool:
        with storage.database.write.begin() as connection:
            decoded = [session_rules.decode(operation) for operation in operations]
            writes = Writes(connection)
            session_store.apply(connection, writes, decoded, datetime.now(timezone.utc))
            writes.execute()

            # when another one appends to it, and waits,
            appending = pool.submit(write, storage, append("e"))
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            with storage.database.read.connect() as watching:
                watching = watching.execution_options(isolation_level="AUTOCOMMIT")
                while not watching.scalar(waiting) and not appending.done():
                    pass

        # then it finds the session, which has been there at all times.
        (outcome,) = appending.result(PATIENCE)
    storage.close()
    assert outcome == {"revision": 1, "events": [{"id": "e", "seq": 1}]}


class TestPools:
    def test_seed_fault_sqlite_in_memory_with_five_connections_is_five_databases(self) -> None:
        database = Database(DatabaseOptions("sqlite://", pool_size=5, pool_timeout=0.05))
        with database.write.connect(), pytest.raises(PoolTimeout):
            database.read.connect()
        database.close()

    def test_threads_share_one_database_in_memory(self) -> None:
        database = Database(DatabaseOptions("sqlite://", pool_size=5))
        with database.write.begin() as connection:
            connection.execute(text("CREATE TABLE t (x INTEGER)"))

        def insert() -> None:
            with database.write.begin() as connection:
                connection.execute(text("INSERT INTO t VALUES (1)"))

        together(*[insert] * 5)
        with database.read.begin() as connection:
            assert connection.scalar(text("SELECT count(*) FROM t")) == 5
        database.close()

    @pytest.mark.parametrize(
        ("url", "size"), [("postgresql://user@host/name", 3), ("sqlite:///file.db", 2)]
    )
    def test_seed_fault_pool_sizes_are_fixed(self, url: str, size: int) -> None:
        database = Database(DatabaseOptions(url, pool_size=size, pool_overflow=4))
        assert isinstance(database.write.pool, QueuePool)
        assert database.write.pool.size() == size
        assert database.write.pool is database.read.pool

    def test_two_storage_objects_in_memory_share_nothing(self) -> None:
        first, second = (Database(DatabaseOptions("sqlite://")) for _ in range(2))
        with first.write.begin() as connection:
            connection.execute(text("CREATE TABLE t (x INTEGER)"))
        with second.write.begin() as connection:
            connection.execute(text("CREATE TABLE t (x INTEGER)"))
        first.close()
        second.close()
