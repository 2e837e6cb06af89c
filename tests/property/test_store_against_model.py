"""The store beside a plain model: whatever is sent, in whatever batches, both hold the same.

Hypothesis makes messages of several operations, sends several at once, sends some again and uses
some ids twice; after each call the replies must be equal, and so must all that can be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.operations import (
    AppendEvents,
    BlobReference,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    MessageStatus,
    Order,
    Query,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.outcomes import WriteReply
from api_client.contract.records import StoredEvent, new_id
from tests.property.conftest import OpenStorage, in_memory
from tests.property.model import Json, Model, ModelSession, Outcome, Reply
from worker.storage import Storage

# Few names, so that operations meet; each with something that a careless store trips over.
APPS = ["app", "100%"]
USERS = ["user", "o'hara"]
SESSIONS = ["s", "user", '%(app)s"']
NAMES = ["report", "user:photo", "a/b", "a_b", "é%s'", "user:"]
STATE_KEYS = ["k", "app:k", "user:k", "temp:k", "app:", "%s'", "user"]
EVENT_IDS = ["e1", "e2", "E1", "é", "%"]
#: Of client clocks that disagree; they are data, and order nothing.
TIMES = ["2026-11-05T12:00:00Z", "2026-11-05T14:00:00.000001+02:00", "1999-01-01T00:00:00Z"]
CONTENTS = [b"", b"bytes", b"%PDF\x00\xff", b"x" * 300]
#: Announced, but not always there.
BLOBS = [(hashlib.sha256(c).hexdigest(), len(c)) for c in [*CONTENTS, b"never sent"]]

#: Half of all operations meet at one session and one artifact.
HOT_SESSION = SessionKey(APPS[0], USERS[0], SESSIONS[0])
SESSION_KEYS = st.just(HOT_SESSION) | st.builds(
    SessionKey, st.sampled_from(APPS), st.sampled_from(USERS), st.sampled_from(SESSIONS)
)
ARTIFACT_KEYS = st.just(ArtifactKey(APPS[0], USERS[0], SESSIONS[0], NAMES[0])) | st.builds(
    ArtifactKey,
    st.sampled_from(APPS),
    st.sampled_from(USERS),
    st.sampled_from(SESSIONS[:2]),
    st.sampled_from(NAMES),
)
VALUES: st.SearchStrategy[Json] = st.sampled_from(
    [None, 0, 1.0, True, "", "nul \x00", [1, {"a": None}], {}, 2**70]
)


def raw(value: Json) -> msgspec.Raw:
    return msgspec.Raw(codec.encode(value))


RAW_STATE = st.dictionaries(st.sampled_from(STATE_KEYS), VALUES.map(raw), max_size=3)
DELETED_KEYS = st.lists(st.sampled_from(STATE_KEYS), max_size=2, unique=True)


def event(fields: dict[str, Json]) -> msgspec.Raw:
    delta = fields.get("state_delta", {})
    if "state_delete" in fields:
        fields["state_delete"] = [key for key in fields["state_delete"] if key not in delta]
    return raw(fields)


EVENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(EVENT_IDS),
        "author": st.sampled_from(["agent", "ü"]),
        "timestamp": st.sampled_from(TIMES),
    },
    optional={
        "content": VALUES,
        "state_delta": st.dictionaries(st.sampled_from(STATE_KEYS), VALUES, max_size=3),
        "state_delete": DELETED_KEYS,
        "invocation_id": st.just("run"),
        "partial": st.booleans(),
    },
).map(event)


def update(key: SessionKey, delta: dict[str, msgspec.Raw], delete: list[str]) -> UpdateState | None:
    delete = [name for name in delete if name not in delta]
    return UpdateState(key=key, delta=delta or ({} if delete else {"k": raw(0)}), delete=delete)


OPERATIONS: st.SearchStrategy[WriteOperation] = st.one_of(
    st.builds(CreateSession, key=SESSION_KEYS, state=RAW_STATE),
    st.builds(
        AppendEvents,
        key=SESSION_KEYS,
        events=st.lists(EVENTS, min_size=1, max_size=4),
        expected_revision=st.sampled_from([None, None, None, 0, 1, 2, 3]),
    ),
    st.builds(update, SESSION_KEYS, RAW_STATE, DELETED_KEYS),
    st.builds(DeleteSession, key=SESSION_KEYS),
    st.builds(
        SaveArtifact,
        key=ARTIFACT_KEYS,
        mime_type=st.sampled_from(["text/plain", "a/b; c='%s'"]),
        data=st.sampled_from(CONTENTS),
        metadata=st.dictionaries(st.sampled_from(["m", "%"]), VALUES.map(raw), max_size=2),
    ),
    st.builds(
        SaveArtifact,
        key=ARTIFACT_KEYS,
        mime_type=st.just("text/plain"),
        blob=st.sampled_from(BLOBS).map(lambda blob: BlobReference(*blob)),
    ),
    st.builds(DeleteArtifact, key=ARTIFACT_KEYS, version=st.none() | st.integers(1, 4)),
)
KEY_JSON = b'{"app":"app","user":"user","session":"s"}'
EVENT_JSON = b'{"id":"e1","author":"a","timestamp":"2026-11-05T12:00:00Z"%b}'
APPEND_JSON = b'{"op":"session.append","key":%b,"events":[%b,%b]}'
#: Operations that break the contract; their neighbours must not notice.
BROKEN = [
    b'{"op":"session.fork","key":%b}' % KEY_JSON,
    b"5",
    b'{"op":"session.update_state","key":%b}' % KEY_JSON,
    b'{"op":"session.create","key":{"app":"app","user":"","session":"s"}}',
    b'{"op":"session.create","key":%b,"state":{"k\\u0000":1}}' % KEY_JSON,
    APPEND_JSON % (KEY_JSON, EVENT_JSON % b"", EVENT_JSON % b',"content":1e400'),
    APPEND_JSON % (KEY_JSON, EVENT_JSON % b',"state_delta":{"k":9}', EVENT_JSON % b',"seq":1'),
    b'{"op":"artifact.save","key":{"app":"app","user":"user","session":"s","name":"report"},'
    b'"mime_type":"a/b","blob":{"sha256":"../../etc/passwd","size":1}}',
]

#: What a message holds: an operation, or bytes that are none.
Item = WriteOperation | bytes
ITEMS: st.SearchStrategy[Item] = st.one_of(OPERATIONS, OPERATIONS, st.sampled_from(BROKEN))
BATCHES = st.lists(ITEMS, min_size=1, max_size=6)


def append(*event_ids: str) -> AppendEvents:
    """Events for the session that most operations meet at."""
    fields = (
        {"id": one, "author": "a", "timestamp": at}
        for one, at in zip(event_ids, TIMES, strict=False)
    )
    return AppendEvents(key=HOT_SESSION, events=[*map(event, fields)])


class Sent:
    """A message as it is sent, and the operations that the model is given."""

    def __init__(self, message_id: str, items: Sequence[Item]):
        bodies = [i if isinstance(i, bytes) else codec.encode_operation(i) for i in items]
        self.message: Message = codec.decode_message(codec.encode_message(message_id, bodies))
        self.operations = [None if isinstance(item, bytes) else item for item in items]


class StoreMachine(RuleBasedStateMachine):
    """Drives a storage object and the model alike.

    Parameters:
        open_storage: opens a storage object that holds nothing yet.
    """

    def __init__(self, open_storage: OpenStorage) -> None:
        super().__init__()
        self.storage: Storage = open_storage()
        self.model = Model()
        self.sent: list[Sent] = []
        self.turns = 0
        # Most operations need a session, so there is one from the beginning.
        self.apply([self.fresh([CreateSession(key=HOT_SESSION), append("e1"), append("e2", "é")])])

    def teardown(self) -> None:
        """Compare all there is, whatever the rules have looked at."""
        try:
            if self.agreed:
                self.compare_everything()
        finally:
            self.storage.close()

    # Writing

    @rule(batches=st.lists(BATCHES, min_size=1, max_size=3))
    def send(self, batches: list[list[Item]]) -> None:
        """Several new messages in one transaction."""
        self.apply([self.fresh(items) for items in batches])

    @precondition(lambda self: self.sent)
    @rule(picks=st.lists(st.integers(0), min_size=1, max_size=3), new=BATCHES)
    def send_again(self, picks: list[int], new: list[Item]) -> None:
        """Earlier messages come once more, perhaps twice, before and after a new one."""
        again = [self.sent[pick % len(self.sent)] for pick in picks]
        self.apply([*again[:1], self.fresh(new), *again])

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(0), other=BATCHES, first=st.booleans())
    def use_an_id_again(self, pick: int, other: list[Item], first: bool) -> None:
        """A message with the id of an earlier one, beside that one."""
        earlier = self.sent[pick % len(self.sent)]
        pair = [Sent(earlier.message.id, other), earlier]
        self.apply(pair if first else pair[::-1])

    @rule(items=BATCHES, others=BATCHES)
    def use_a_new_id_twice(self, items: list[Item], others: list[Item]) -> None:
        one = self.fresh(items)
        self.apply([one, Sent(one.message.id, others), one])

    # Reading

    @rule(
        key=SESSION_KEYS,
        last=st.none() | st.integers(0, 5),
        after_seq=st.integers(0, 4),
        before_seq=st.none() | st.integers(0, 6),
        after_time=st.none() | st.sampled_from(TIMES).map(datetime.fromisoformat),
        events=st.booleans(),
    )
    def load(self, key: SessionKey, **bounds: Any) -> None:
        self.compare_session(LoadSession(key=key, **bounds))

    @rule(
        app=st.sampled_from(APPS),
        user=st.none() | st.sampled_from(USERS),
        order=st.sampled_from(["newest", "oldest"]),
        limit=st.integers(1, 4),
    )
    def list_sessions(self, app: str, user: str | None, order: Order, limit: int) -> None:
        self.compare_listing(app, user, order, limit)

    @rule(
        key=ARTIFACT_KEYS,
        version=st.none() | st.integers(1, 4),
        start=st.integers(0, 12),
        length=st.none() | st.integers(0, 400),
    )
    def load_artifact(
        self, key: ArtifactKey, version: int | None, start: int, length: int | None
    ) -> None:
        self.compare_artifact(LoadArtifact(key=key, version=version, start=start, length=length))

    @rule(key=SESSION_KEYS, limit=st.integers(1, 4))
    def list_artifacts(self, key: SessionKey, limit: int) -> None:
        self.compare_artifact_names(key, limit)

    @rule(key=ARTIFACT_KEYS, limit=st.integers(1, 3))
    def list_versions(self, key: ArtifactKey, limit: int) -> None:
        self.compare_versions(key, limit)

    @precondition(lambda self: self.sent)
    @rule(picks=st.lists(st.integers(0), max_size=4))
    def ask_for_status(self, picks: list[int]) -> None:
        ids = [self.sent[pick % len(self.sent)].message.id for pick in picks] + [new_id()]
        states = self.answer(MessageStatus(message_ids=ids))
        assert [state["message_id"] for state in states] == ids
        for state in states:
            known = self.model.ledger.get(state["message_id"])
            assert state["applied"] is (known is not None)
            assert [plain(outcome) for outcome in state["outcomes"]] == (known or [[], []])[1]

    # Helpers

    def fresh(self, items: Sequence[Item]) -> Sent:
        made = Sent(new_id(), items)
        self.sent.append(made)
        return made

    def apply(self, sent: Sequence[Sent]) -> None:
        self.agreed = False
        expected = self.model.apply([(one.message, one.operations) for one in sent])
        # Whatever is taken for new, the replies are the same.
        self.turns += 1
        found = self.storage.apply([one.message for one in sent], first=self.turns % 2 == 0)
        assert [plain_reply(reply) for reply in found] == expected
        self.agreed = True

    def answer(self, query: Query) -> Json:
        """The store's reply; ``{"error": code}`` if it failed."""
        reply = self.storage.query(codec.decode_query(codec.encode_query(query)))
        if reply.error is not None:
            return {"error": reply.error.code}
        return json.loads(bytes(reply.ok))

    def pages(self, query: Callable[[str | None], Query], limit: int) -> list[Json]:
        """All items of a listing, page by page."""
        items: list[Json] = []
        cursor = None
        while True:
            page = self.answer(query(cursor))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                assert len(page["items"]) <= limit
                return items
            assert len(page["items"]) == limit

    def compare_everything(self) -> None:
        for app in APPS:
            self.compare_listing(app, None, "oldest", 1000)
            for user in USERS:
                for session in SESSIONS:
                    self.compare_all_of(SessionKey(app, user, session))

    def compare_all_of(self, key: SessionKey) -> None:
        self.compare_session(LoadSession(key=key))
        self.compare_artifact_names(key, 1000)
        for name in NAMES:
            artifact = ArtifactKey(key.app, key.user, key.session, name)
            self.compare_versions(artifact, 1000)
            self.compare_artifact(LoadArtifact(key=artifact))

    def compare_session(self, query: LoadSession) -> None:
        found = self.answer(query)
        session = self.model.sessions.get(query.key)
        if session is None:
            assert found == {"error": "not_found"}
            return
        assert found["key"] == msgspec.to_builtins(query.key)
        assert found["revision"] == session.revision
        assert found["state"] == self.model.state(query.key)
        assert found["more"] is False
        assert loaded(found["events"]) == loaded(expected_events(session, query))

    def compare_listing(self, app: str, user: str | None, order: Order, limit: int) -> None:
        def query(cursor: str | None) -> Query:
            return ListSessions(
                app=app, user=user, order=order, limit=limit, cursor=cursor, state=True
            )

        found = self.pages(query, limit)
        keys = [msgspec.convert(item["key"], SessionKey) for item in found]
        there = {k for k in self.model.sessions if k.app == app and user in (None, k.user)}
        assert sorted(keys) == sorted(there)
        for key, item in zip(keys, found, strict=True):
            assert item["revision"] == self.model.sessions[key].revision
            assert item["state"] == self.model.state(key)
        # Those created in one transaction may come in any order.
        born = [self.model.sessions[key].born for key in keys]
        assert all(a <= b if order == "oldest" else a >= b for a, b in pairwise(born))

    def compare_artifact(self, query: LoadArtifact) -> None:
        found = self.answer(query)
        versions = self.model.versions(query.key)
        number = max(versions, default=0) if query.version is None else query.version
        if number not in versions:
            assert found == {"error": "not_found"}
            return
        version = versions[number]
        end = None if query.length is None else query.start + query.length
        data = msgspec.convert(found.pop("data"), bytes)
        assert data == version.data[query.start : end]
        assert without_times(found) == self.described(query.key.name, number, version)

    def compare_artifact_names(self, key: SessionKey, limit: int) -> None:
        found = self.pages(lambda at: ListArtifacts(key=key, limit=limit, cursor=at), limit)
        expected = []
        for name in self.model.artifact_names(key):
            versions = self.model.versions(ArtifactKey(key.app, key.user, key.session, name))
            expected.append(self.described(name, max(versions), versions[max(versions)]))
        assert [without_times(item) for item in found] == expected

    def compare_versions(self, key: ArtifactKey, limit: int) -> None:
        versions = self.model.versions(key)
        if not versions:
            assert self.answer(ListVersions(key=key)) == {"error": "not_found"}
            return
        found = self.pages(lambda at: ListVersions(key=key, limit=limit, cursor=at), limit)
        expected = [self.described(key.name, number, v) for number, v in versions.items()]
        assert [without_times(item) for item in found] == expected

    @staticmethod
    def described(name: str, number: int, version: Any) -> Json:
        return {
            "name": name,
            "version": number,
            "mime_type": version.mime_type,
            "size": len(version.data),
            "sha256": version.sha256,
            "metadata": version.metadata,
        }


def expected_events(session: ModelSession, query: LoadSession) -> list[Json]:
    if not query.events:
        return []
    events = [
        one | {"seq": seq}
        for seq, one in enumerate(session.events, 1)
        if seq > query.after_seq
        and (query.before_seq is None or seq < query.before_seq)
        and (
            query.after_time is None or datetime.fromisoformat(one["timestamp"]) > query.after_time
        )
    ]
    return events if query.last is None else events[max(0, len(events) - query.last) :]


def loaded(events: Iterable[Json]) -> list[Json]:
    """Events as a client reads them, whichever fields were left out on the way."""
    return [msgspec.structs.asdict(msgspec.convert(one, StoredEvent)) for one in events]


def without_times(item: Json) -> Json:
    return {name: value for name, value in item.items() if name != "created_at"}


def plain(outcome: Json) -> Outcome:
    if "error" in outcome:
        return {"error": outcome["error"]["code"]}
    return {"ok": without_times(outcome["ok"])}


def plain_reply(reply: WriteReply) -> Reply:
    outcomes = [plain(one) for one in json.loads(codec.encode(reply.outcomes))]
    return Reply(outcomes, reply.missing, None if reply.error is None else reply.error.code)


def machine_on(open_storage: OpenStorage) -> type[StoreMachine]:
    """The machine over a storage object of the given kind."""

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(open_storage)

    return Machine


# When it fails, finding the smallest failure takes minutes.
@pytest.mark.timeout(900)
def test_on_sqlite_in_memory() -> None:
    profile = settings(settings.get_profile("property"), max_examples=60, stateful_step_count=25)
    run_state_machine_as_test(machine_on(in_memory), settings=profile)


def test_on_postgresql(open_postgres: OpenStorage) -> None:
    # Finding the smallest failure would take minutes here; most are found in memory, too.
    profile = settings(
        settings.get_profile("property"),
        max_examples=12,
        stateful_step_count=20,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    run_state_machine_as_test(machine_on(open_postgres), settings=profile)
