"""Messages and queries as JSON: what is read, what is refused, and that both sides agree on it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.checks import encode_json
from api_client.contract.errors import InvalidRequest, TooLarge
from api_client.contract.events import decode_event, encode_event
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.limits import (
    MAX_JSON_DEPTH,
    MAX_MESSAGE_BYTES,
    MAX_OPERATION_BYTES,
    MAX_OPERATIONS_PER_MESSAGE,
    MAX_STATE_BYTES,
)
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteSession,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    LoadSharedState,
    MessageStatus,
    Query,
    SaveArtifact,
    WriteOperation,
)
from api_client.contract.records import Event
from worker.artifacts import evaluate as artifact_rules
from worker.sessions import evaluate as session_rules

KEY = SessionKey("app", "user", "session")
ARTIFACT = ArtifactKey("app", "user", "session", "report.pdf")
ID = "0192f3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6"
DELETE = codec.encode_operation(DeleteSession(key=KEY))
KEY_JSON = b'{"app":"a","user":"u","session":"s"}'


def message(**fields: Any) -> bytes:
    return codec.encode({"version": 1, "id": ID, "operations": [{"op": "x"}]} | fields)


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def nested_objects(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


class TestMessage:
    def test_it_comes_back(self) -> None:
        decoded = codec.decode_message(codec.encode_message(ID, [DELETE, DELETE]))
        assert decoded.id == ID
        assert decoded.version == codec.WIRE_VERSION == 1
        assert [bytes(raw) for raw in decoded.operations] == [DELETE, DELETE]

    def test_equal_input_gives_equal_bytes(self) -> None:
        # The ledger compares a resent message by its bytes.
        assert codec.encode_message(ID, [DELETE]) == codec.encode_message(ID, iter([DELETE]))

    def test_what_is_spliced_is_what_an_encoder_writes(self) -> None:
        spliced = codec.encode_message(ID, [DELETE, DELETE])
        assert json.loads(spliced) == {
            "version": 1,
            "id": ID,
            "operations": [json.loads(DELETE)] * 2,
        }

    def test_a_bad_operation_does_not_spoil_its_neighbours(self) -> None:
        decoded = codec.decode_message(codec.encode_message(ID, [b'{"op":"no.such"}', DELETE]))
        with pytest.raises(InvalidRequest):
            codec.decode_operation(decoded.operations[0])
        assert codec.decode_operation(decoded.operations[1]) == DeleteSession(key=KEY)

    @pytest.mark.parametrize("version", [0, 2, -1, 10**9])
    def test_another_version_is_refused(self, version: int) -> None:
        with pytest.raises(InvalidRequest, match=f"version {version} .* readable: 1") as caught:
            codec.decode_message(message(version=version))
        assert caught.value.field == "version"

    @pytest.mark.parametrize(
        "message_id",
        [
            ID.upper(),
            ID.replace("-", ""),
            f"{{{ID}}}",
            f"urn:uuid:{ID}",
            "",
            "message-1",
            ID + " ",
            ID[:-1],
            "x" * 10_000,
        ],
    )
    def test_an_id_must_be_a_canonical_uuid(self, message_id: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            codec.decode_message(message(id=message_id))
        assert caught.value.field == "id"

    @pytest.mark.parametrize("count", [1, MAX_OPERATIONS_PER_MESSAGE])
    def test_as_many_operations_as_the_limit_are_read(self, count: int) -> None:
        decoded = codec.decode_message(codec.encode_message(ID, [DELETE] * count))
        assert len(decoded.operations) == count

    @pytest.mark.parametrize("count", [0, MAX_OPERATIONS_PER_MESSAGE + 1])
    def test_none_or_more_are_refused(self, count: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            codec.decode_message(codec.encode_message(ID, [b"{}"] * count))
        assert caught.value.limit == MAX_OPERATIONS_PER_MESSAGE

    def test_a_message_of_exactly_the_limit_is_read_and_one_byte_more_is_not(self) -> None:
        bare = codec.encode_message(ID, [b'""'])
        filling = "x" * (MAX_MESSAGE_BYTES - len(bare))
        codec.decode_message(codec.encode_message(ID, [codec.encode(filling)]))
        with pytest.raises(TooLarge) as caught:
            codec.decode_message(codec.encode_message(ID, [codec.encode(filling + "x")]))
        assert (caught.value.field, caught.value.limit) == ("message", MAX_MESSAGE_BYTES)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            message(more=1),
            message(version="1"),
            message(operations={}),
            message(id=5),
            message()[:-1] + b"}}",
            b"[" * 1_000_000,
            b'{"version":1,"id":"%b","operations":["\xff"]}' % ID.encode(),
        ],
    )
    def test_what_is_no_message_is_refused(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest):
            codec.decode_message(raw)


class TestOperation:
    @pytest.mark.parametrize(
        "raw",
        [
            b"{}",
            b"null",
            b'{"op":"session.load","key":%b}' % KEY_JSON,
            b'{"op":"session.delete"}',
            b'{"op":"session.delete","key":%b,"force":true}' % KEY_JSON,
            b'{"op":"session.delete","key":["a","u","s"]}',
            b'{"op":"session.append","key":%b,"events":{}}' % KEY_JSON,
            b'{"op":"session.append","key":%b,"events":[],"expected_revision":"1"}' % KEY_JSON,
            b'{"op":"session.append","key":%b,"events":[],"expected_revision":1.5}' % KEY_JSON,
            b'{"op":"session.create","key":%b,"state":[]}' % KEY_JSON,
            b'{"op":"artifact.save","key":%b,"mime_type":"a/b"}' % KEY_JSON,
            b'{"op":"session.create","key":%b,"state":' % KEY_JSON + b'{"a":' * 500_000,
        ],
    )
    def test_unknown_missing_or_wrongly_typed_fields_are_refused(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest) as caught:
            codec.decode_operation(raw)
        assert caught.value.field == "operation"

    @pytest.mark.parametrize(
        ("key", "field"),
        [
            (b'{"app":"","user":"u","session":"s"}', "app"),
            (b'{"app":"a","user":"\\u0000","session":"s"}', "user"),
            (b'{"app":"a","user":"u","session":"' + b"x" * 257 + b'"}', "session"),
        ],
    )
    def test_a_bad_key_is_refused_by_its_field(self, key: bytes, field: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            codec.decode_operation(b'{"op":"session.delete","key":%b}' % key)
        assert caught.value.field == field

    def test_it_must_not_exceed_its_limit(self) -> None:
        events = [msgspec.Raw(codec.encode("x" * MAX_OPERATION_BYTES))]
        with pytest.raises(TooLarge) as caught:
            codec.encode_operation(AppendEvents(key=KEY, events=events))
        assert (caught.value.field, caught.value.limit) == ("operation", MAX_OPERATION_BYTES)

    def test_inline_bytes_travel_as_base64(self) -> None:
        save = SaveArtifact(key=ARTIFACT, mime_type="a/b", data=bytes(range(256)))
        encoded = codec.encode_operation(save)
        assert json.loads(encoded)["data"].startswith("AAECAwQF")
        assert codec.decode_operation(encoded) == save


class TestBothSidesAgree:
    """What the client's checks let pass, the worker takes: accepted operations do not fail later,
    and an outbox file that holds them can be opened again."""

    @pytest.mark.parametrize("levels", [1, 50, MAX_JSON_DEPTH - 1, MAX_JSON_DEPTH])
    def test_on_the_depth_of_content(self, levels: int) -> None:
        event = encode_event(Event(author="a", content=nested(levels)))
        decoded = self.sent(AppendEvents(key=KEY, events=[event]))
        assert isinstance(decoded, AppendEvents)
        decode_event(decoded.events[0])
        session_rules.decode(decoded)

    @pytest.mark.parametrize("levels", [1, 50, MAX_JSON_DEPTH - 2, MAX_JSON_DEPTH - 1])
    def test_on_the_depth_of_state(self, levels: int) -> None:
        state = {"k": nested(levels)}
        encode_json(state, "state", MAX_STATE_BYTES)
        event = encode_event(Event(author="a", state_delta=state))
        raw = {"k": msgspec.Raw(codec.encode(state["k"]))}
        for operation in (
            CreateSession(key=KEY, state=raw),
            AppendEvents(key=KEY, events=[event]),
        ):
            decoded = self.sent(operation)
            assert isinstance(decoded, (CreateSession, AppendEvents))
            session_rules.decode(decoded)

    @pytest.mark.parametrize("levels", [1, 50, MAX_JSON_DEPTH - 2, MAX_JSON_DEPTH - 1])
    def test_on_the_depth_of_metadata(self, levels: int) -> None:
        metadata = {"k": nested(levels)}
        encode_json(metadata, "metadata", MAX_STATE_BYTES)
        raw = {"k": msgspec.Raw(codec.encode(metadata["k"]))}
        decoded = self.sent(SaveArtifact(key=ARTIFACT, mime_type="a/b", data=b"", metadata=raw))
        assert isinstance(decoded, SaveArtifact)
        artifact_rules.check(decoded)

    @staticmethod
    def sent(operation: WriteOperation) -> WriteOperation:
        body = codec.encode_message(ID, [codec.encode_operation(operation)])
        (raw,) = codec.decode_message(body).operations
        return codec.decode_operation(raw)


class TestQuery:
    @pytest.mark.parametrize(
        "query",
        [
            LoadSession(key=KEY),
            LoadSession(
                key=KEY,
                events=False,
                last=3,
                after_seq=4,
                before_seq=9,
                after_time=datetime(2026, 1, 2, tzinfo=timezone.utc),
            ),
            ListSessions(app="app"),
            ListSessions(app="a", user="u", order="oldest", limit=2, cursor="c", state=True),
            LoadSharedState(app="a", user="u"),
            LoadArtifact(key=ARTIFACT),
            LoadArtifact(key=ARTIFACT, version=2, start=3, length=4),
            ListArtifacts(key=KEY, limit=5, cursor="c"),
            ListVersions(key=ARTIFACT, limit=5, cursor="c"),
            MessageStatus(message_ids=[ID]),
        ],
    )
    def test_it_comes_back(self, query: Query) -> None:
        encoded = codec.encode_query(query)
        assert codec.decode_query(encoded) == query
        assert json.loads(encoded)["version"] == 1

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"{}",
            b'{"version":2,"query":{"op":"status","message_ids":[]}}',
            b'{"query":{"op":"status","message_ids":[]},"more":1}',
            b'{"query":{"op":"status","message_ids":[1]}}',
            b'{"query":{"op":"session.delete","key":%b}}' % KEY_JSON,
            b'{"query":{"op":"session.load","key":%b,"last":"all"}}' % KEY_JSON,
            b'{"query":{"op":"session.list","app":"a","order":"random"}}',
            b'{"query":{"op":"session.load","key":{"app":"","user":"u","session":"s"}}}',
            b'{"query":{"op":"session.list","app":"\xff"}}',
            b'{"query":' * 200_000,
        ],
    )
    def test_what_is_no_query_is_refused(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest):
            codec.decode_query(raw)


class TestBody:
    """Task bodies: ours, spliced from JSON, and those of a plain Celery publisher."""

    def test_its_arguments_stay_unparsed(self) -> None:
        argument = codec.encode_message(ID, [DELETE])
        body = codec.encode_body(([msgspec.Raw(argument)], {"k": 1}, {"callbacks": None}))
        args, kwargs, embed = codec.decode_body(body)
        assert [bytes(raw) for raw in args] == [argument]
        assert (kwargs, embed) == ({"k": 1}, {"callbacks": None})

    def test_any_json_library_can_read_it(self) -> None:
        body = codec.encode_body(([msgspec.Raw(b'{"a":[1,"\\u0000"]}')], {}, {}))
        assert json.loads(body) == [[{"a": [1, "\x00"]}], {}, {}]

    def test_a_plain_publisher_is_read_likewise(self) -> None:
        plain = json.dumps([[json.loads(codec.encode_message(ID, [DELETE]))], {}, {}])
        (argument,), _, _ = codec.decode_body(plain)
        assert codec.decode_message(argument).id == ID

    @pytest.mark.parametrize("levels", range(MAX_JSON_DEPTH - 3, MAX_JSON_DEPTH + 1))
    def test_a_plain_publisher_may_nest_as_deep_as_our_client(self, levels: int) -> None:
        event = {"id": "e", "author": "a", "timestamp": "2026-01-01T00:00:00Z"}
        append = {
            "op": "session.append",
            "key": {"app": "a", "user": "u", "session": "s"},
            "events": [event | {"content": nested(levels)}],
        }
        body = json.dumps({"id": ID, "operations": [append]}).encode()
        (raw,) = codec.decode_message(body).operations
        operation = codec.decode_operation(raw)
        assert isinstance(operation, AppendEvents)
        session_rules.decode(operation)


class TestDecode:
    @pytest.mark.parametrize("raw", [b'{"app":1}', b"", b"nul", b"[]", b"[" * 1_000_000])
    def test_what_is_of_another_type_is_refused_by_a_typed_error(self, raw: bytes) -> None:
        with pytest.raises(InvalidRequest):
            codec.decode(raw, SessionKey)
