"""Events as JSON: what goes in comes out, or is refused at the call; nothing is lost later."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_client.contract.errors import InvalidRequest, TooLarge
from api_client.contract.events import (
    check_batch,
    decode_event,
    encode_event,
    in_event,
    stored_event,
    strip_temporary,
)
from api_client.contract.limits import (
    MAX_EVENT_BYTES,
    MAX_EVENTS_PER_APPEND,
    MAX_ID_BYTES,
    MAX_INTEGER_BITS,
    MAX_JSON_DEPTH,
    MAX_STATE_KEY_BYTES,
)
from api_client.contract.records import Event, StoredEvent

NOON = datetime(2026, 11, 5, 12, tzinfo=timezone.utc)
LONG = 2**MAX_INTEGER_BITS - 1


class Text(str):
    """A string of a class of its own."""


class Real(float):
    """A float of a class of its own; ``numpy.float64`` is one."""


PROFILE = settings(deadline=None, print_blob=True, derandomize=False, max_examples=150)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LONG, LONG)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
#: JSON numbers of any length, as other languages may write them.
NUMBERS = st.from_regex(
    r"\A-?(0|[1-9][0-9]{0,330})(\.[0-9]{1,330})?([eE][+-]?[0-9]{1,4})?\Z"
).filter(lambda text: text.isascii())


def event(**fields: Any) -> Event:
    defaults: dict[str, Any] = {"author": "agent", "id": "e1", "timestamp": NOON}
    return Event(**defaults | fields)


def raw(**fields: bytes) -> msgspec.Raw:
    """An event as another language may have written it: ``fields`` are JSON."""
    written = {"id": b'"e1"', "author": b'"a"', "timestamp": b'"2026-11-05T12:00:00Z"'} | fields
    members = (b'"%b":%b' % (name.encode(), value) for name, value in written.items())
    return msgspec.Raw(b"{" + b",".join(members) + b"}")


def through_the_store(encoded: msgspec.Raw, seq: int = 1) -> StoredEvent:
    """What a client loads after a worker has stored ``encoded``."""
    payload = bytes(strip_temporary(encoded, decode_event(encoded))).decode()
    return msgspec.json.decode(stored_event(seq, payload), type=StoredEvent)


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def identical(one: Any, other: Any) -> bool:
    """Equal in value and type, all the way down, and in the order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return repr(one) == repr(other)


class TestRoundTrip:
    @PROFILE
    @given(content=JSON, delta=st.dictionaries(st.text(min_size=1, max_size=9), JSON, max_size=3))
    def test_any_json_comes_back_exactly(self, content: Any, delta: dict[str, Any]) -> None:
        delta = {name.replace("\x00", "-"): value for name, value in delta.items()}
        kept = {name: value for name, value in delta.items() if not name.startswith("temp:")}

        loaded = through_the_store(encode_event(event(content=content, state_delta=delta)))

        assert identical(loaded.content, content)
        assert identical(loaded.state_delta, kept)

    @pytest.mark.parametrize(
        "content",
        [
            "nul \x00 inside",
            {"\x00": "\x00"},
            2**64,
            -(2**63) - 1,
            LONG,
            -LONG,
            5e-324,
            1.7976931348623157e308,
            -0.0,
            1.0,
            True,
            {"b": 1, "a": 2, "": 3},
            "\U0001f600\u2028\ufffe",
            nested(MAX_JSON_DEPTH),
        ],
    )
    def test_values_that_others_lose_come_back_exactly(self, content: Any) -> None:
        assert identical(through_the_store(encode_event(event(content=content))).content, content)

    def test_every_field_comes_back(self) -> None:
        given_event = event(
            content=[1],
            state_delta={"step": None, "app:a": {"x": []}},
            state_delete=["old", "user:old"],
            invocation_id="run-1",
        )
        loaded = through_the_store(encode_event(given_event), seq=7)
        expected = msgspec.structs.asdict(given_event) | {"seq": 7}
        assert msgspec.structs.asdict(loaded) == expected

    def test_the_instant_comes_back_from_any_zone(self) -> None:
        elsewhere = datetime(2026, 1, 1, 1, 2, 3, 456789, timezone(timedelta(hours=-9.5)))
        assert through_the_store(encode_event(event(timestamp=elsewhere))).timestamp == elsewhere

    def test_a_loaded_event_can_be_appended_elsewhere_without_its_seq(self) -> None:
        loaded = StoredEvent(author="a", id="e1", timestamp=NOON, content=1, seq=9)
        assert through_the_store(encode_event(loaded), seq=1).seq == 1
        assert b"seq" not in bytes(encode_event(loaded))

    def test_bytes_of_another_publisher_pass_through_unchanged(self) -> None:
        content = b'{ "z" : 1.50, "a":\t[1E2], "dup":1, "u":"\\u00e9\\u0000" }'
        encoded = raw(content=content)
        envelope = decode_event(encoded)
        assert bytes(envelope.content) == content
        assert strip_temporary(encoded, envelope) is encoded
        assert content.decode() in stored_event(1, bytes(encoded).decode())


class TestTemporaryState:
    DELTA: Mapping[str, Any] = {"temp:a": 1, "b": 2, "app:temp:c": 3, "temp:": 4}

    def test_the_client_does_not_send_it(self) -> None:
        given_event = event(state_delta=dict(self.DELTA), state_delete=["temp:x", "y"])
        encoded = encode_event(given_event)
        envelope = decode_event(encoded)
        assert set(envelope.state_delta) == {"b", "app:temp:c"}
        assert envelope.state_delete == ["y"]
        assert b"temp:a" not in bytes(encoded)
        assert given_event.state_delta == self.DELTA, "the caller's event is left as it is"

    def test_the_worker_does_not_store_what_others_send(self) -> None:
        encoded = raw(
            content=b'{"temp:kept":[1]}',
            state_delta=msgspec.json.encode(self.DELTA),
            state_delete=b'["temp:x","y"]',
            invocation_id=b'"run"',
            partial=b"true",
        )
        stripped = strip_temporary(encoded, decode_event(encoded))
        envelope = decode_event(stripped)
        assert list(envelope.state_delta) == ["b", "app:temp:c"]
        assert envelope.state_delete == ["y"]
        assert bytes(envelope.content) == b'{"temp:kept":[1]}'
        assert (envelope.id, envelope.author, envelope.timestamp) == ("e1", "a", NOON)
        assert (envelope.invocation_id, envelope.partial) == ("run", True)

    def test_content_beside_it_keeps_its_digits(self) -> None:
        encoded = raw(content=b'{"n":1.10,"m":123456789012345678901234567890}')
        with_temporary = raw(
            content=b'{"n":1.10,"m":123456789012345678901234567890}', state_delta=b'{"temp:a":1}'
        )
        loaded = through_the_store(with_temporary)
        assert identical(loaded.content, through_the_store(encoded).content)


class TestRefusedAtTheCall:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"author": ""}, "author"),
            ({"author": "a\x00"}, "author"),
            ({"author": None}, "author"),
            ({"author": "a" * (MAX_ID_BYTES + 1)}, "author"),
            ({"id": ""}, "id"),
            ({"id": 5}, "id"),
            ({"invocation_id": ""}, "invocation_id"),
            ({"timestamp": datetime(2026, 1, 1)}, "timestamp"),
            ({"timestamp": "2026-01-01T00:00:00Z"}, "timestamp"),
            ({"state_delta": {"": 1}}, "state_delta key"),
            ({"state_delta": {1: 1}}, "state_delta key"),
            ({"state_delta": {"k" * (MAX_STATE_KEY_BYTES + 1): 1}}, "state_delta key"),
            ({"state_delta": [("k", 1)]}, "state_delta"),
            ({"state_delta": {"k": math.nan}}, "state_delta"),
            ({"state_delta": {"k": nested(MAX_JSON_DEPTH)}}, "state_delta"),
            ({"state_delete": ["k\x00"]}, "state_delete key"),
            ({"state_delete": "k"}, "state_delete"),
            ({"state_delta": {"k": 1}, "state_delete": ["k"]}, "state_delete"),
            ({"content": math.inf}, "content"),
            ({"content": {"k": [math.nan]}}, "content"),
            ({"content": "\ud800"}, "content"),
            ({"content": {"\udfff": 1}}, "content"),
            ({"content": b"bytes"}, "content"),
            ({"content": 2**MAX_INTEGER_BITS}, "content"),
            ({"content": nested(MAX_JSON_DEPTH + 1)}, "content"),
            ({"partial": 1}, "partial"),
        ],
    )
    def test_the_error_names_the_field(self, fields: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            encode_event(event(**fields))
        assert caught.value.field == field

    @pytest.mark.parametrize("value", [{"author": "a"}, None, "event"])
    def test_only_events_are_taken(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=type(value).__name__):
            encode_event(value)

    @pytest.mark.parametrize("value", [Text("x"), Real(1.5), [Real(1.5)], {Text("k"): 1}])
    def test_subclasses_of_json_types_pass_or_are_refused_by_a_typed_error(
        self, value: Any
    ) -> None:
        with contextlib.suppress(InvalidRequest):
            encoded = encode_event(event(content=value, state_delta={"k": value}))
            assert through_the_store(encoded).content == value

    def test_an_event_of_exactly_the_limit_passes_on_both_sides(self) -> None:
        room = MAX_EVENT_BYTES - len(bytes(encode_event(event(content=""))))
        largest = encode_event(event(content="x" * room))
        assert len(bytes(largest)) == MAX_EVENT_BYTES
        assert decode_event(largest).id == "e1"
        with pytest.raises(TooLarge) as caught:
            encode_event(event(content="x" * (room + 1)))
        assert (caught.value.field, caught.value.limit) == ("event", MAX_EVENT_BYTES)

    @pytest.mark.parametrize(
        "timestamp",
        [
            datetime.min.replace(tzinfo=timezone.utc),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            datetime.max.replace(tzinfo=timezone.utc),
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        ],
    )
    def test_every_timestamp_that_passes_has_a_place_in_utc(self, timestamp: datetime) -> None:
        # The database keeps UTC. A worker that cannot convert a timestamp could not store the
        # event, and its message would be sent again for ever.
        with contextlib.suppress(InvalidRequest):
            decoded = decode_event(encode_event(event(timestamp=timestamp)))
            assert decoded.timestamp.astimezone(timezone.utc) == timestamp


class TestRefusedByTheWorker:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"seq": b"1"}, "event"),
            ({"unknown": b"1"}, "event"),
            ({"author": b"5"}, "event"),
            ({"timestamp": b'"yesterday"'}, "event"),
            ({"state_delta": b"[]"}, "event"),
            ({"state_delete": b'[""]'}, "state_delete key"),
            ({"partial": b'"yes"'}, "event"),
            ({"id": b'""'}, "id"),
            ({"author": b'"\\u0000"'}, "author"),
            ({"timestamp": b'"2026-01-01T00:00:00"'}, "timestamp"),
            ({"state_delta": b'{"k":1}', "state_delete": b'["k"]'}, "state_delete"),
            ({"content": b"[" * 101 + b"]" * 101}, "content"),
            ({"content": b"NaN"}, "event"),
            ({"content": b'"\\ud800"'}, "event"),
        ],
    )
    def test_the_error_names_the_field(self, fields: dict[str, bytes], field: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            decode_event(raw(**fields))
        assert caught.value.field == field

    @pytest.mark.parametrize("missing", ["id", "author", "timestamp"])
    def test_the_envelope_must_be_whole(self, missing: str) -> None:
        fields = msgspec.json.decode(raw())
        del fields[missing]
        with pytest.raises(InvalidRequest, match=missing):
            decode_event(msgspec.Raw(msgspec.json.encode(fields)))

    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'"event"', b"[" * 100_000])
    def test_what_is_no_event_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidRequest):
            decode_event(msgspec.Raw(text))

    def test_too_many_bytes_are_refused_unparsed(self) -> None:
        with pytest.raises(TooLarge):
            decode_event(raw(content=b'"' + b"x" * MAX_EVENT_BYTES + b'"'))

    @PROFILE
    @given(number=NUMBERS, temporary=st.booleans())
    def test_every_number_that_passes_can_be_loaded(self, number: str, temporary: bool) -> None:
        fields = {"content": b"[%b]" % number.encode()}
        if temporary:
            fields["state_delta"] = b'{"temp:x":1}'
        encoded = raw(**fields)
        with contextlib.suppress(InvalidRequest):
            decode_event(encoded)
            through_the_store(encoded)


class TestBatch:
    @pytest.mark.parametrize("count", [1, MAX_EVENTS_PER_APPEND])
    def test_a_batch_within_the_limits_passes(self, count: int) -> None:
        check_batch(count)

    def test_an_empty_batch_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="must not be empty"):
            check_batch(0)

    def test_a_longer_batch_is_refused_with_the_limit(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            check_batch(MAX_EVENTS_PER_APPEND + 1)
        assert (caught.value.field, caught.value.limit) == ("events", MAX_EVENTS_PER_APPEND)

    def test_an_error_says_in_which_event_it_is(self) -> None:
        error = in_event(TooLarge("too long", field="author", limit=256), 3)
        assert type(error) is TooLarge
        assert (error.field, error.limit) == ("events[3].author", 256)
        assert error.message == "events[3]: too long"
        assert in_event(InvalidRequest("no event"), 0).field == "events[0]"
