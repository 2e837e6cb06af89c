"""What breaks the contract is refused at the call, by field and limit, and nothing is written."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api_client import (
    ArtifactKey,
    Event,
    InvalidRequest,
    NotFound,
    SessionKey,
    StorageClient,
    TooLarge,
)
from api_client.contract.errors import ErrorRecord
from api_client.contract.limits import (
    MAX_COUNT,
    MAX_EVENT_BYTES,
    MAX_EVENTS_PER_APPEND,
    MAX_ID_BYTES,
    MAX_INTEGER_BITS,
    MAX_JSON_DEPTH,
    MAX_METADATA_BYTES,
    MAX_MIME_TYPE_BYTES,
    MAX_NAME_BYTES,
    MAX_OPERATION_BYTES,
    MAX_PAGE_SIZE,
    MAX_STATE_BYTES,
    MAX_STATE_KEY_BYTES,
)
from api_client.contract.records import new_id
from tests.conformance.conftest import nested
from tests.conftest import BROKER_STACKS
from tests.support.workers import Stack

#: A UUID, but not in its canonical form.
UPPER_ID = "01A2052D-5A31-7017-910E-F30120686E99"

NOT_TEXT: dict[str, Any] = {
    "empty": "",
    "NUL": "a\x00b",
    "lone surrogate": "a\ud800",
    "None": None,
    "int": 1,
    "bytes": b"a",
    "list": ["a"],
}


class _Number(float):
    """As numpy.float64 is."""


class _Text(str):
    """As many libraries' texts are."""


class _Color(StrEnum):
    RED = "red"


class _Level(IntEnum):
    LOW = 1


def refused(
    call: Callable[[], Any], field: str, limit: int | None = None, kind: type = InvalidRequest
) -> None:
    """The call itself raises, without a receipt to ask."""
    with pytest.raises(InvalidRequest) as caught:
        call()
    assert type(caught.value) is kind
    assert caught.value.field == field
    assert caught.value.limit == limit
    assert field.partition("[")[0] in caught.value.message
    if limit is not None:
        assert str(limit) in caught.value.message.replace(",", "")


class TestKeys:
    """Which are checked when they are made, and so need no client."""

    @pytest.mark.parametrize("value", NOT_TEXT.values(), ids=NOT_TEXT)
    def test_not_text(self, value: Any) -> None:
        session = {"app": "a", "user": "u", "session": "s"}
        for field in session:
            refused(partial(SessionKey, **session | {field: value}), field)
        artifact = session | {"name": "n"}
        for field in artifact:
            refused(partial(ArtifactKey, **artifact | {field: value}), field)

    @pytest.mark.parametrize("letter", ["x", "é", "語", "😀"])
    def test_too_long(self, letter: str) -> None:
        long = "xxx" + letter * (MAX_ID_BYTES // len(letter.encode()))
        refused(lambda: SessionKey(long, "u", "s"), "app", MAX_ID_BYTES)
        refused(lambda: SessionKey("a", long, "s"), "user", MAX_ID_BYTES)
        refused(lambda: SessionKey("a", "u", long), "session", MAX_ID_BYTES)
        long = "xxx" + letter * (MAX_NAME_BYTES // len(letter.encode()))
        refused(lambda: ArtifactKey("a", "u", "s", long), "name", MAX_NAME_BYTES)


KEY_CALLS: dict[str, Callable[[StorageClient, Any], Any]] = {
    "sessions.create": lambda client, key: client.sessions.create(key),
    "sessions.append": lambda client, key: client.sessions.append(key, Event(author="a")),
    "sessions.update_state": lambda client, key: client.sessions.update_state(key, {"x": 1}),
    "sessions.delete": lambda client, key: client.sessions.delete(key),
    "sessions.load": lambda client, key: client.sessions.load(key),
    "artifacts.save": lambda client, key: client.artifacts.save(key, "x"),
    "artifacts.load": lambda client, key: client.artifacts.load(key),
    "artifacts.versions": lambda client, key: client.artifacts.versions(key),
    "artifacts.delete": lambda client, key: client.artifacts.delete(key),
    "artifacts.list": lambda client, key: client.artifacts.list(key),
}


@pytest.mark.parametrize("call", KEY_CALLS.values(), ids=KEY_CALLS)
@pytest.mark.parametrize("key", [None, "a/u/s", ("a", "u", "s"), {"app": "a"}], ids=str)
def test_keys_of_another_type(
    client: StorageClient, call: Callable[[StorageClient, Any], Any], key: Any
) -> None:
    refused(lambda: call(client, key), "key")


def test_the_other_kind_of_key(client: StorageClient) -> None:
    for name, call in KEY_CALLS.items():
        takes_session = name.startswith("sessions.") or name == "artifacts.list"
        wrong = ArtifactKey("a", "u", "s", "n") if takes_session else SessionKey("a", "u", "s")
        refused(partial(call, client, wrong), "key")


def _event(fields: dict[str, Any]) -> Event:
    return Event(**{"author": "a", **fields})


#: What is wrong with an event, the field that is named, and the limit.
EVENTS: dict[str, tuple[Callable[[], Any], str, int | None]] = {
    **{
        f"{field}: {name}": (
            partial(_event, {field: value}),
            f".{field}",
            None,
        )
        for field in ("author", "id", "invocation_id")
        for name, value in NOT_TEXT.items()
        if (field, name) != ("invocation_id", "None")
    },
    **{
        f"{field}: too long": (
            partial(_event, {field: "é" * 129}),
            f".{field}",
            MAX_ID_BYTES,
        )
        for field in ("author", "id", "invocation_id")
    },
    "timestamp: no zone": (
        lambda: Event(author="a", timestamp=datetime(2026, 1, 1)),
        ".timestamp",
        None,
    ),
    "timestamp: number": (lambda: Event(author="a", timestamp=1.0), ".timestamp", None),  # type: ignore[arg-type]
    "timestamp: None": (lambda: Event(author="a", timestamp=None), ".timestamp", None),  # type: ignore[arg-type]
    "state_delta: list": (lambda: Event(author="a", state_delta=[]), ".state_delta", None),  # type: ignore[arg-type]
    "state_delta: None": (lambda: Event(author="a", state_delta=None), ".state_delta", None),  # type: ignore[arg-type]
    "state_delete: str": (lambda: Event(author="a", state_delete="ab"), ".state_delete", None),  # type: ignore[arg-type]
    "state_delete: int": (lambda: Event(author="a", state_delete=[1]), ".state_delete key", None),  # type: ignore[list-item]
    "partial: int": (lambda: Event(author="a", partial=1), ".partial", None),  # type: ignore[arg-type]
    "set and deleted": (
        lambda: Event(author="a", state_delta={"x": 1}, state_delete=["x"]),
        ".state_delete",
        None,
    ),
    "state key: empty": (lambda: Event(author="a", state_delta={"": 1}), ".state_delta key", None),
    "state key: NUL": (
        lambda: Event(author="a", state_delta={"a\x00": 1}),
        ".state_delta key",
        None,
    ),
    "state key: int": (lambda: Event(author="a", state_delta={1: 1}), ".state_delta key", None),  # type: ignore[dict-item]
    "state key: too long": (
        lambda: Event(author="a", state_delta={"x" * (MAX_STATE_KEY_BYTES + 1): 1}),
        ".state_delta key",
        MAX_STATE_KEY_BYTES,
    ),
    "not an event: None": (lambda: None, "", None),
    "not an event: dict": (lambda: {"author": "a"}, "", None),
    "not an event: str": (lambda: "text", "", None),
}

#: JSON values that cannot be carried, and the limit, if there is one.
VALUES: dict[str, tuple[Any, int | None]] = {
    "NaN": (math.nan, None),
    "infinity": (math.inf, None),
    "minus infinity": ([-math.inf], None),
    "lone surrogate": ("a\ud800b", None),
    "lone surrogate in a key": ({"\udfff": 1}, None),
    "halves in the wrong order": ("\udc00\ud800", None),
    "too deep": (nested(MAX_JSON_DEPTH + 1), MAX_JSON_DEPTH),
    "much too deep": (nested(100_000), MAX_JSON_DEPTH),
    "too many bits": (2**MAX_INTEGER_BITS, MAX_INTEGER_BITS),
    "too many bits below zero": ([-(2**MAX_INTEGER_BITS)], MAX_INTEGER_BITS),
    "far too many bits": (1 << 100_000, MAX_INTEGER_BITS),
    "integer as a key": ({1: "a"}, None),
    "None as a key": ({None: "a"}, None),
    "bytes": (b"a", None),
    "set": ({1, 2}, None),
    "datetime": (datetime(2026, 1, 1), None),
    "Decimal": (Decimal("1.5"), None),
    "object": (object(), None),
    "complex": ([1j], None),
    "Path": (Path("x"), None),
    "Event": (Event(author="a"), None),
    "generator": ((n for n in range(3)), None),
}


class TestEvents:
    @pytest.mark.parametrize("name", EVENTS)
    def test_fields(self, client: StorageClient, key: SessionKey, name: str) -> None:
        make, field, limit = EVENTS[name]
        good = Event(author="a")
        refused(lambda: client.sessions.append(key, [make()]), f"events[0]{field}", limit)
        refused(
            lambda: client.sessions.append(key, [good, make(), good]),
            f"events[1]{field}",
            limit,
        )

    def test_a_refused_append_writes_nothing(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        good = Event(author="a", state_delta={"x": 1, "app:x": 1})
        for make, _, _ in EVENTS.values():
            with pytest.raises(InvalidRequest):
                client.sessions.append(session, [good, make()])
        for value, _ in VALUES.values():
            with pytest.raises(InvalidRequest):
                client.sessions.append(session, [good, Event(author="a", content=value)])
        loaded = client.sessions.load(session).result()
        assert (loaded.events, loaded.state, loaded.revision) == ([], {}, 0)

    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, client: StorageClient, key: SessionKey, name: str) -> None:
        value, limit = VALUES[name]
        with pytest.raises(InvalidRequest) as caught:
            client.sessions.append(key, Event(author="a", content=value))
        assert (caught.value.field, caught.value.limit) == ("events[0].content", limit)
        with pytest.raises(InvalidRequest) as caught:
            client.sessions.append(key, Event(author="a", state_delta={"x": value}))
        # A lone surrogate is found while encoding, which cannot tell the two apart.
        assert caught.value.field in ("events[0].state_delta", "events[0].content")
        assert caught.value.limit == limit

    def test_unknown_fields(self, client: StorageClient, session: SessionKey) -> None:
        with pytest.raises(TypeError, match="unknown"):
            Event(author="a", unknown=1)  # type: ignore[call-arg]
        assert client.sessions.load(session).result().events == []

    def test_values_that_contain_themselves(
        self, client: StorageClient, session: SessionKey
    ) -> None:
        circle: list[Any] = []
        circle.append(circle)
        refused(
            lambda: client.sessions.append(session, Event(author="a", content=circle)),
            "events[0].content",
            MAX_JSON_DEPTH,
        )

    def test_none_and_too_many(self, client: StorageClient, session: SessionKey) -> None:
        refused(lambda: client.sessions.append(session, []), "events")
        refused(lambda: client.sessions.append(session, ()), "events")
        refused(lambda: client.sessions.append(session, "text"), "events")  # type: ignore[arg-type]
        refused(lambda: client.sessions.append(session, None), "events")  # type: ignore[arg-type]
        refused(lambda: client.sessions.append(session, {"author": "a"}), "events")  # type: ignore[arg-type]
        many = [Event(author="a")] * (MAX_EVENTS_PER_APPEND + 1)
        refused(lambda: client.sessions.append(session, many), "events", MAX_EVENTS_PER_APPEND)
        assert client.sessions.load(session).result().events == []

    def test_too_large(self, client: StorageClient, session: SessionKey) -> None:
        large = Event(author="a", content="x" * MAX_EVENT_BYTES)
        refused(
            lambda: client.sessions.append(session, [Event(author="a"), large]),
            "events[1].event",
            MAX_EVENT_BYTES,
            TooLarge,
        )
        halves = [Event(author="a", content="x" * (MAX_EVENT_BYTES - 1000)) for _ in range(3)]
        refused(
            lambda: client.sessions.append(session, halves),
            "operation",
            MAX_OPERATION_BYTES,
            TooLarge,
        )
        assert client.sessions.load(session).result().events == []

    @pytest.mark.parametrize("revision", [-1, 1.0, "1", True, MAX_COUNT + 1], ids=repr)
    def test_expected_revision(
        self, client: StorageClient, session: SessionKey, revision: Any
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            client.sessions.append(session, Event(author="a"), expected_revision=revision)
        assert caught.value.field == "expected_revision"

    @pytest.mark.parametrize(
        "value",
        [_Number(1.5), _Text("a"), _Color.RED, _Level.LOW, [_Number(2.5)], {"k": _Text("v")}],
        ids=repr,
    )
    def test_relatives_of_json_types_are_taken_or_refused(
        self, client: StorageClient, session: SessionKey, value: Any
    ) -> None:
        refusal: InvalidRequest | None = None
        try:
            client.sessions.append(session, Event(author="a", content=value))
        except InvalidRequest as error:
            refusal = error
        loaded = client.sessions.load(session).result()
        if refusal is None:
            assert [event.content for event in loaded.events] == [value]
        else:
            assert refusal.field == "events[0].content"
            assert loaded.events == []

    def test_ids_that_are_relatives_of_str_are_taken_or_refused(
        self, client: StorageClient, app: str
    ) -> None:
        refusal: InvalidRequest | None = None
        try:
            key = SessionKey(app, _Text("user"), _Color.RED)
            client.sessions.create(key, state={_Text("key"): 1})
        except InvalidRequest as error:
            refusal = error
        loaded = client.sessions.load(SessionKey(app, "user", "red"))
        if refusal is None:
            assert loaded.result().state == {"key": 1}
        else:
            assert refusal.field in ("user", "session", "state", "state key")
            assert isinstance(loaded.exception(), NotFound)


class TestState:
    @pytest.mark.parametrize("name", VALUES)
    def test_values(self, client: StorageClient, key: SessionKey, name: str) -> None:
        value, limit = VALUES[name]
        refused(lambda: client.sessions.create(key, state={"x": value}), "state", limit)
        assert isinstance(client.sessions.load(key).exception(), NotFound)
        client.sessions.create(key).result()
        for scoped in ("x", "app:x", "user:x"):
            refused(partial(client.sessions.update_state, key, {scoped: value}), "delta", limit)
        assert client.sessions.load(key).result().state == {}

    @pytest.mark.parametrize("name", NOT_TEXT)
    def test_keys(self, client: StorageClient, session: SessionKey, name: str) -> None:
        bad = NOT_TEXT[name]
        other = SessionKey(session.app, session.user, "other")
        if name != "list":
            refused(lambda: client.sessions.create(other, state={bad: 1}), "state key")
            refused(lambda: client.sessions.update_state(session, {bad: 1}), "delta key")
        refused(lambda: client.sessions.update_state(session, delete=[bad]), "delete key")
        assert client.sessions.load(session).result().state == {}

    def test_keys_too_long(self, client: StorageClient, session: SessionKey) -> None:
        long = "é" * (MAX_STATE_KEY_BYTES // 2) + "x"
        update = client.sessions.update_state
        refused(lambda: update(session, {long: 1}), "delta key", MAX_STATE_KEY_BYTES)
        refused(lambda: update(session, delete=[long]), "delete key", MAX_STATE_KEY_BYTES)

    @pytest.mark.parametrize("state", [[], "text", 1, [("a", 1)], {"a"}], ids=repr)
    def test_other_types(self, client: StorageClient, key: SessionKey, state: Any) -> None:
        # What is empty counts as no state at all.
        if state:
            refused(lambda: client.sessions.create(key, state=state), "state")
            refused(lambda: client.sessions.update_state(key, state), "delta")
        refused(lambda: client.sessions.update_state(key, {"x": 1}, delete="xy"), "delete")
        refused(lambda: client.sessions.update_state(key, {"x": 1}, delete={"xy"}), "delete")  # type: ignore[arg-type]

    def test_nothing_to_do(self, client: StorageClient, session: SessionKey) -> None:
        refused(lambda: client.sessions.update_state(session), "delta")
        refused(lambda: client.sessions.update_state(session, {}, delete=[]), "delta")

    def test_set_and_deleted(self, client: StorageClient, session: SessionKey) -> None:
        refused(
            lambda: client.sessions.update_state(session, {"x": 1}, delete=["y", "x"]), "delete"
        )

    def test_too_large(self, client: StorageClient, key: SessionKey) -> None:
        state = {str(n): "x" * (MAX_STATE_BYTES // 2) for n in range(2)}
        refused(
            lambda: client.sessions.create(key, state=state), "state", MAX_STATE_BYTES, TooLarge
        )
        refused(
            lambda: client.sessions.update_state(key, state), "delta", MAX_STATE_BYTES, TooLarge
        )
        assert isinstance(client.sessions.load(key).exception(), NotFound)


class TestReads:
    @pytest.mark.parametrize("bad", [-1, 1.5, "1", True, MAX_COUNT + 1], ids=repr)
    def test_numbers(self, client: StorageClient, session: SessionKey, bad: Any) -> None:
        for field in ("last", "after_seq"):
            with pytest.raises(InvalidRequest) as caught:
                client.sessions.load(session, **{field: bad})
            assert caught.value.field == field

    @pytest.mark.parametrize("bad", [datetime(2026, 1, 1), 1, "2026-01-01T00:00:00Z"], ids=repr)
    def test_times(self, client: StorageClient, session: SessionKey, bad: Any) -> None:
        refused(lambda: client.sessions.load(session, after_time=bad), "after_time")

    @pytest.mark.parametrize("bad", [0, -1, MAX_PAGE_SIZE + 1, 1.5, None, True], ids=repr)
    def test_page_sizes(self, client: StorageClient, artifact: Any, bad: Any) -> None:
        key = artifact("a")
        session = SessionKey(key.app, key.user, key.session)
        for call in (
            lambda: client.sessions.list(key.app, limit=bad),
            lambda: client.artifacts.list(session, limit=bad),
            lambda: client.artifacts.versions(key, limit=bad),
        ):
            with pytest.raises(InvalidRequest) as caught:
                call()
            assert caught.value.field == "limit"

    @pytest.mark.parametrize("name", NOT_TEXT)
    def test_listings(self, client: StorageClient, artifact: Any, name: str) -> None:
        bad, key = NOT_TEXT[name], artifact("a")
        session = SessionKey(key.app, key.user, key.session)
        refused(lambda: client.sessions.list(bad), "app")
        if bad is not None:
            refused(lambda: client.sessions.list("app", bad), "user")
            refused(lambda: client.sessions.list("app", cursor=bad), "cursor")
            refused(lambda: client.artifacts.list(session, cursor=bad), "cursor")
            refused(lambda: client.artifacts.versions(key, cursor=bad), "cursor")

    @pytest.mark.parametrize("order", ["", "NEWEST", "up", None, 1], ids=repr)
    def test_orders(self, client: StorageClient, order: Any) -> None:
        refused(lambda: client.sessions.list("app", order=order), "order")

    @pytest.mark.parametrize("cursor", ["x", "!!!!", "é", "AA==", "/w=="])
    def test_artifact_cursors(self, client: StorageClient, artifact: Any, cursor: str) -> None:
        key = artifact("a")
        client.artifacts.save(key, "x").result()
        session = SessionKey(key.app, key.user, key.session)
        for receipt in (
            client.artifacts.list(session, cursor=cursor),
            client.artifacts.versions(key, cursor=cursor),
        ):
            error = receipt.exception()
            assert type(error) is InvalidRequest
            assert error.field == "cursor"

    @pytest.mark.parametrize("ids", [["x"], [""], [UPPER_ID], ["0" * 32], [None]], ids=repr)
    def test_message_ids(self, client: StorageClient, ids: Any) -> None:
        with pytest.raises(InvalidRequest) as caught:
            client.status(ids)
        assert caught.value.field in ("id", "message_ids")
        refused(lambda: client.status([new_id()] * 1001), "message_ids", 1000)


class TestArtifacts:
    @pytest.mark.parametrize("bad", [0, -1, 1.0, "1", True, MAX_COUNT + 1], ids=repr)
    def test_versions(self, client: StorageClient, artifact: Any, bad: Any) -> None:
        for call in (client.artifacts.load, client.artifacts.delete):
            with pytest.raises(InvalidRequest) as caught:
                call(artifact("a"), version=bad)
            assert caught.value.field == "version"

    @pytest.mark.parametrize("bad", [-1, 1.5, "1", True, MAX_COUNT], ids=repr)
    def test_ranges(self, client: StorageClient, artifact: Any, bad: Any) -> None:
        for field in ("start", "length"):
            with pytest.raises(InvalidRequest) as caught:
                client.artifacts.load(artifact("a"), **{field: bad})
            assert caught.value.field == field

    @pytest.mark.parametrize("name", NOT_TEXT)
    def test_mime_types(self, client: StorageClient, artifact: Any, name: str) -> None:
        bad = NOT_TEXT[name]
        if bad is not None:
            save = client.artifacts.save
            refused(lambda: save(artifact("a"), "x", mime_type=bad), "mime_type")

    def test_mime_types_too_long(self, client: StorageClient, artifact: Any) -> None:
        long = "é" * (MAX_MIME_TYPE_BYTES // 2) + "x"
        save = client.artifacts.save
        refused(lambda: save(artifact("a"), "x", mime_type=long), "mime_type", MAX_MIME_TYPE_BYTES)

    @pytest.mark.parametrize("name", VALUES)
    def test_metadata(self, client: StorageClient, artifact: Any, name: str) -> None:
        value, limit = VALUES[name]
        key = artifact("a")
        refused(lambda: client.artifacts.save(key, "x", metadata={"x": value}), "metadata", limit)
        assert isinstance(client.artifacts.load(key).exception(), NotFound)

    @pytest.mark.parametrize("metadata", ["text", [1], [("a", 1)], 1], ids=repr)
    def test_metadata_of_other_types(
        self, client: StorageClient, artifact: Any, metadata: Any
    ) -> None:
        refused(lambda: client.artifacts.save(artifact("a"), "x", metadata=metadata), "metadata")

    def test_metadata_too_large(self, client: StorageClient, artifact: Any) -> None:
        large = {"x": "y" * MAX_METADATA_BYTES}
        refused(
            lambda: client.artifacts.save(artifact("a"), "x", metadata=large),
            "metadata",
            MAX_METADATA_BYTES,
            TooLarge,
        )

    @pytest.mark.parametrize("data", [None, 1, 1.5, ["a"], {"a": 1}, ..., str], ids=repr)
    def test_data_of_other_types(self, client: StorageClient, artifact: Any, data: Any) -> None:
        refused(lambda: client.artifacts.save(artifact("a"), data), "data")

    def test_data_that_is_no_utf8(self, client: StorageClient, artifact: Any) -> None:
        refused(lambda: client.artifacts.save(artifact("a"), "a\ud800"), "data")

    def test_paths_that_cannot_be_read(
        self, client: StorageClient, artifact: Any, tmp_path: Path
    ) -> None:
        for path in (tmp_path, tmp_path / "missing", Path("a\x00b"), Path("/dev/null")):
            refused(partial(client.artifacts.save, artifact("a"), path), "data")
        assert isinstance(client.artifacts.load(artifact("a")).exception(), NotFound)

    def test_files_that_cannot_be_read(
        self, client: StorageClient, artifact: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"content")
        with open(path) as text, open(tmp_path / "other", "wb") as write_only:
            closed = io.BytesIO(b"x")
            closed.close()
            for file in (text, io.StringIO("x"), write_only, closed):
                source: Any = file
                refused(partial(client.artifacts.save, artifact("a"), source), "data")
        assert isinstance(client.artifacts.load(artifact("a")).exception(), NotFound)


class _Wire:
    """Operations as a publisher writes them that shares no code with us."""

    def __init__(self, app: str) -> None:
        self.key = {"app": app, "user": "user", "session": "session"}
        self.create = {"op": "session.create", "key": self.key}
        self.good = self.append({"id": "good"})

    def append(self, *events: dict[str, Any], **fields: Any) -> dict[str, Any]:
        times = {"author": "a", "timestamp": "2026-01-01T00:00:00Z", "id": new_id()}
        events_ = [times | event for event in events]
        return {"op": "session.append", "key": self.key, "events": events_, **fields}

    def update(self, **fields: Any) -> dict[str, Any]:
        return {"op": "session.update_state", "key": self.key, **fields}

    def save(self, **fields: Any) -> dict[str, Any]:
        fields = {"mime_type": "a/b", "data": "eA==", **fields}
        return {"op": "artifact.save", "key": {**self.key, "name": "n"}, **fields}

    def delete(self, **fields: Any) -> dict[str, Any]:
        return {"op": "artifact.delete", "key": {**self.key, "name": "n"}, **fields}


#: Operations that our client would not have sent.
WIRE: dict[str, Callable[[_Wire], dict[str, Any]]] = {
    "no op": lambda w: {"key": w.key},
    "unknown op": lambda w: {"op": "session.merge", "key": w.key},
    "a query": lambda w: {"op": "session.load", "key": w.key},
    "no key": lambda w: {"op": "session.create"},
    "unknown field": lambda w: {**w.create, "unknown": 1},
    "unknown field in a key": lambda w: {**w.create, "key": {**w.key, "tenant": "x"}},
    "unknown field in an event": lambda w: w.append({"unknown": 1}),
    "seq in an event": lambda w: w.append({"seq": 1}),
    "empty id in a key": lambda w: {**w.create, "key": {**w.key, "session": ""}},
    "NUL in a key": lambda w: {**w.create, "key": {**w.key, "session": "a\x00"}},
    "number in a key": lambda w: {**w.create, "key": {**w.key, "session": 1}},
    "long id in a key": lambda w: {**w.create, "key": {**w.key, "session": "x" * 257}},
    "no events": lambda w: w.append(),
    "too many events": lambda w: w.append(*[{}] * 1001),
    "one bad event of three": lambda w: w.append({}, {"author": ""}, {}),
    "event without an author": lambda w: w.append({"author": None}),
    "event with NUL in its id": lambda w: w.append({"id": "a\x00"}),
    "event without a zone": lambda w: w.append({"timestamp": "2026-01-01T00:00:00"}),
    "event at no time": lambda w: w.append({"timestamp": "yesterday"}),
    "event out of time": lambda w: w.append({"timestamp": "0001-01-01T00:00:00+14:00"}),
    "event too deep": lambda w: w.append({"content": nested(MAX_JSON_DEPTH + 1)}),
    "event too large": lambda w: w.append({"content": "x" * MAX_EVENT_BYTES}),
    "event with a huge number": lambda w: w.append({"content": 2**MAX_INTEGER_BITS}),
    "event with an empty state key": lambda w: w.append({"state_delta": {"": 1}}),
    "event that sets and deletes": lambda w: w.append(
        {"state_delta": {"x": 1}, "state_delete": ["x"]}
    ),
    "negative revision": lambda w: w.append({}, expected_revision=-1),
    "revision beyond 64 bits": lambda w: w.append({}, expected_revision=2**63),
    "state too deep": lambda w: w.update(delta={"x": nested(MAX_JSON_DEPTH + 1)}),
    "state key with NUL": lambda w: w.update(delta={"a\x00": 1}),
    "nothing to update": lambda w: w.update(),
    "neither bytes nor blob": lambda w: w.save(data=None),
    "bytes and blob": lambda w: w.save(blob={"sha256": "0" * 64, "size": 1}),
    "no base64": lambda w: w.save(data="!"),
    "blob that is a path": lambda w: w.save(
        data=None, blob={"sha256": "../" * 21 + "x", "size": 1}
    ),
    "blob of negative size": lambda w: w.save(data=None, blob={"sha256": "0" * 64, "size": -1}),
    "metadata too deep": lambda w: w.save(metadata={"x": nested(MAX_JSON_DEPTH + 1)}),
    "metadata too large": lambda w: w.save(metadata={"x": "y" * MAX_METADATA_BYTES}),
    "mime type with NUL": lambda w: w.save(mime_type="a\x00"),
    "version zero": lambda w: w.delete(version=0),
    "negative version": lambda w: w.delete(version=-1),
    "version beyond 64 bits": lambda w: w.delete(version=2**63),
}


@pytest.mark.parametrize("stack", BROKER_STACKS, indirect=True)
class TestWire:
    """The same from a publisher that checks nothing."""

    @pytest.mark.parametrize("name", WIRE)
    def test_a_bad_operation_fails_and_its_neighbours_are_applied(
        self, stack: Stack, client: StorageClient, app: str, name: str
    ) -> None:
        wire = _Wire(app)
        operations = [wire.create, WIRE[name](wire), wire.good]
        reply = stack.publish({"version": 1, "id": new_id(), "operations": operations})
        assert reply.error is None
        first, bad, last = reply.outcomes
        assert first.error is None
        assert isinstance(bad.error, ErrorRecord)
        assert bad.error.code in ("invalid_request", "too_large")
        assert bad.error.field
        assert last.error is None
        loaded = client.sessions.load(SessionKey(app, "user", "session")).result()
        assert [event.id for event in loaded.events] == ["good"]
        assert loaded.state == {}

    @pytest.mark.parametrize(
        "value",
        [math.nan, math.inf, "a\ud800", {"\ud800": 1}, nested(400)],
        ids=["NaN", "infinity", "surrogate", "surrogate in a key", "far too deep"],
    )
    def test_what_json_cannot_carry_is_refused(
        self, stack: Stack, client: StorageClient, app: str, value: Any
    ) -> None:
        wire = _Wire(app)
        client.sessions.create(SessionKey(app, "user", "session")).result()
        operations = [wire.append({"content": value})]
        reply = stack.publish({"version": 1, "id": new_id(), "operations": operations})
        error = reply.error or reply.outcomes[0].error
        assert error is not None
        assert error.code == "invalid_request"
        assert error.field
        loaded = client.sessions.load(SessionKey(app, "user", "session")).result()
        assert (loaded.events, loaded.revision) == ([], 0)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"version": 0}, "version"),
            ({"version": 2}, "version"),
            ({"id": "x"}, "id"),
            ({"id": UPPER_ID}, "id"),
            ({"operations": []}, "operations"),
            ({"operations": [{}] * 1001}, "operations"),
            ({"operations": {}}, "message"),
            ({"unknown": 1}, "message"),
        ],
        ids=str,
    )
    def test_bad_messages(self, stack: Stack, app: str, fields: dict[str, Any], field: str) -> None:
        message = {"version": 1, "id": new_id(), "operations": [_Wire(app).create]}
        reply = stack.publish(message | fields)
        assert reply.error is not None
        assert (reply.error.code, reply.error.field) == ("invalid_request", field)

    @pytest.mark.parametrize("message", [None, 1, "text", [], {}], ids=repr)
    def test_what_is_no_message(self, stack: Stack, message: Any) -> None:
        reply = stack.publish(message)
        assert reply.error is not None
        assert (reply.error.code, reply.error.field) == ("invalid_request", "message")

    def test_an_id_used_for_something_else(
        self, stack: Stack, client: StorageClient, app: str
    ) -> None:
        wire, id_ = _Wire(app), new_id()
        message = {"version": 1, "id": id_, "operations": [wire.create]}
        first = stack.publish(message)
        assert stack.publish(message) == first
        reply = stack.publish({**message, "operations": [wire.good]})
        assert reply.error is not None
        assert (reply.error.code, reply.error.field) == ("conflict", "id")
        assert client.sessions.load(SessionKey(app, "user", "session")).result().events == []

    def test_outcomes_are_json_of_any_language(self, stack: Stack, app: str) -> None:
        wire = _Wire(app)
        operations = [wire.create, wire.good]
        reply = stack.publish({"version": 1, "id": new_id(), "operations": operations})
        outcome = msgspec.json.decode(reply.outcomes[1].ok)
        assert outcome == {"revision": 1, "events": [{"id": "good", "seq": 1}]}
