"""The checks that client and worker share: what passes, what is refused, what the error says."""

from __future__ import annotations

import contextlib
import math
from datetime import datetime, timezone, tzinfo
from typing import Any

import msgspec
import pytest

from api_client.contract import checks
from api_client.contract.errors import InvalidRequest, TooLarge
from api_client.contract.limits import (
    MAX_COUNT,
    MAX_CURSOR_BYTES,
    MAX_ID_BYTES,
    MAX_INTEGER_BITS,
    MAX_JSON_DEPTH,
    MAX_PAGE_SIZE,
    MAX_STATE_KEY_BYTES,
)

LONE_SURROGATE = "\ud800"


class Text(str):
    """A string of a class of its own, as numpy and ORMs have them."""


class Whole(int):
    """An integer likewise."""


class Real(float):
    """A float likewise; ``numpy.float64`` is one."""


class NoOffset(tzinfo):
    """A time zone that does not know its offset, which makes a datetime naive."""

    def utcoffset(self, when: datetime | None) -> None:
        return None

    dst = utcoffset

    def tzname(self, when: datetime | None) -> None:
        return None


def nested(levels: int, *, innermost: Any = None) -> Any:
    """Lists in lists, ``levels`` of them."""
    value = [] if innermost is None else [innermost]
    for _ in range(levels - 1):
        value = [value]
    return value


class TestText:
    @pytest.mark.parametrize("value", ["x", "a" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), "../x"])
    def test_text_within_the_limit_passes(self, value: str) -> None:
        checks.check_text(value, "app")

    @pytest.mark.parametrize("value", ["a" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2) + "a"])
    def test_the_limit_is_in_bytes_of_utf8(self, value: str) -> None:
        with pytest.raises(InvalidRequest, match=f"app exceeds {MAX_ID_BYTES} bytes") as caught:
            checks.check_text(value, "app")
        assert (caught.value.field, caught.value.limit) == ("app", MAX_ID_BYTES)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("", "must not be empty"),
            ("a\x00b", "must not contain NUL"),
            (LONE_SURROGATE, "lone surrogate"),
            (None, "must be a string, not NoneType"),
            (b"bytes", "must be a string, not bytes"),
            (7, "must be a string, not int"),
        ],
    )
    def test_what_is_no_storable_text_is_refused(self, value: object, reason: str) -> None:
        with pytest.raises(InvalidRequest, match=f"^user .*{reason}") as caught:
            checks.check_text(value, "user")
        assert caught.value.field == "user"

    def test_a_limit_can_be_given(self) -> None:
        checks.check_text("abc", "name", 3)
        with pytest.raises(InvalidRequest) as caught:
            checks.check_text("abcd", "name", 3)
        assert caught.value.limit == 3


class TestCount:
    @pytest.mark.parametrize("value", [0, 1, MAX_COUNT])
    def test_both_ends_are_included(self, value: int) -> None:
        checks.check_count(value, "last")

    @pytest.mark.parametrize(("value", "limit"), [(-1, 0), (MAX_COUNT + 1, MAX_COUNT)])
    def test_what_lies_outside_is_refused_with_the_limit(self, value: int, limit: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.check_count(value, "last")
        assert (caught.value.field, caught.value.limit) == ("last", limit)

    @pytest.mark.parametrize("value", [True, 1.0, "1", None])
    def test_only_integers_count(self, value: object) -> None:
        with pytest.raises(InvalidRequest, match="must be an integer"):
            checks.check_count(value, "last")


class TestTime:
    def test_a_time_with_a_zone_passes(self) -> None:
        checks.check_time(datetime(2026, 1, 1, tzinfo=timezone.utc), "timestamp")

    @pytest.mark.parametrize(
        "value", [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=NoOffset())]
    )
    def test_a_naive_time_is_refused(self, value: datetime) -> None:
        with pytest.raises(InvalidRequest, match="time zone") as caught:
            checks.check_time(value, "timestamp")
        assert caught.value.field == "timestamp"

    @pytest.mark.parametrize("value", ["2026-01-01T00:00:00Z", 0, None])
    def test_what_is_no_time_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidRequest, match="must be a datetime"):
            checks.check_time(value, "timestamp")


class TestJson:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            0,
            -1.5,
            "text\x00",
            [],
            {},
            (1, [2, {"three": (4,)}]),
            2**MAX_INTEGER_BITS - 1,
            -(2**MAX_INTEGER_BITS - 1),
        ],
    )
    def test_json_passes(self, value: object) -> None:
        checks.check_json(value, "content")

    @pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"k": (v,)}])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_json_has_no_number_for_is_refused(self, value: float, wrap: Any) -> None:
        with pytest.raises(InvalidRequest, match="JSON cannot carry") as caught:
            checks.check_json(wrap(value), "content")
        assert caught.value.field == "content"

    @pytest.mark.parametrize("value", [2**MAX_INTEGER_BITS, -(2**MAX_INTEGER_BITS)])
    def test_an_integer_too_long_to_read_back_is_refused(self, value: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.check_json([value], "content")
        assert caught.value.limit == MAX_INTEGER_BITS

    @pytest.mark.parametrize("value", [b"bytes", {1}, object(), datetime.now, msgspec.Raw(b"1")])
    def test_what_is_not_json_is_refused_by_its_type(self, value: object) -> None:
        with pytest.raises(InvalidRequest, match=type(value).__name__):
            checks.check_json({"k": value}, "content")

    @pytest.mark.parametrize("key", [1, None, b"k"])
    def test_keys_must_be_strings(self, key: object) -> None:
        with pytest.raises(InvalidRequest, match="JSON keys are strings"):
            checks.check_json({key: 1}, "content")

    def test_nesting_up_to_the_limit_passes(self) -> None:
        checks.check_json(nested(MAX_JSON_DEPTH, innermost="leaf"), "content")

    def test_deeper_nesting_is_refused_with_the_limit(self) -> None:
        with pytest.raises(InvalidRequest, match="nested deeper") as caught:
            checks.check_json(nested(MAX_JSON_DEPTH + 1), "content")
        assert caught.value.limit == MAX_JSON_DEPTH

    def test_a_value_that_contains_itself_is_refused(self) -> None:
        circle: dict[str, Any] = {}
        circle["self"] = circle
        with pytest.raises(InvalidRequest, match="nested deeper"):
            checks.check_json(circle, "content")


class TestEncodeJson:
    def test_json_of_exactly_the_limit_passes(self) -> None:
        assert checks.encode_json({"k": "vv"}, "state", 10) == b'{"k":"vv"}'

    def test_a_byte_more_is_too_large(self) -> None:
        with pytest.raises(TooLarge, match="takes 11 bytes; the limit is 10") as caught:
            checks.encode_json({"k": "vvv"}, "state", 10)
        assert (caught.value.field, caught.value.limit) == ("state", 10)

    @pytest.mark.parametrize("value", [LONE_SURROGATE, {LONE_SURROGATE: 1}, [[LONE_SURROGATE]]])
    def test_a_lone_surrogate_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidRequest, match="lone surrogate"):
            checks.encode_json(value, "state", 100)

    @pytest.mark.parametrize("value", [Text("x"), Whole(7), Real(1.5), {Text("k"): [Real(0.5)]}])
    def test_subclasses_of_json_types_are_encoded_or_refused_by_a_typed_error(
        self, value: object
    ) -> None:
        with contextlib.suppress(InvalidRequest):
            encoded = checks.encode_json(value, "state", 100)
            assert msgspec.json.decode(encoded) == value


class TestRawJson:
    """JSON that stays unparsed: whatever passes can be read by every reader."""

    @pytest.mark.parametrize(
        "text",
        [
            b'"' + b"[" * 10 * MAX_JSON_DEPTH + b'"',
            b"[" + b",".join([b"{}"] * 10 * MAX_JSON_DEPTH) + b"]",
            msgspec.json.encode(nested(MAX_JSON_DEPTH, innermost="leaf")),
            msgspec.json.encode(2**MAX_INTEGER_BITS - 1),
            b'"' + b"9" * 5000 + b'"',
            b"1e308",
            b"0.00000000000000000000000000001e-999",
            rb'"\ud83d\ude00"',
        ],
        ids=["string", "wide", "deep", "long integer", "digits", "large", "tiny", "pair"],
    )
    def test_what_readers_can_take_passes(self, text: bytes) -> None:
        checks.check_raw(text, "content")
        msgspec.json.decode(text)

    @pytest.mark.parametrize(
        "text",
        [
            msgspec.json.encode(nested(MAX_JSON_DEPTH + 1)),
            b"[" * 1_000_000 + b"]" * 1_000_000,
            msgspec.json.encode(2**MAX_INTEGER_BITS),
            b"9" * 5000,
            b"1e400",
            b"[-1E+0400]",
            b"1" + b"0" * 320 + b".0",
            b"1" + b"0" * 298 + b"e99",
            rb'"\ud800"',
        ],
        ids=[
            "too deep",
            "far too deep",
            "long integer",
            "longer integer",
            "large",
            "negative",
            "many digits",
            "many digits and an exponent",
            "half a pair",
        ],
    )
    def test_what_some_reader_cannot_take_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.check_raw(text, "content")
        assert caught.value.field == "content"

    def test_an_object_counts_as_a_level_above_its_values(self) -> None:
        deepest = msgspec.Raw(msgspec.json.encode(nested(MAX_JSON_DEPTH - 1)))
        deeper = msgspec.Raw(msgspec.json.encode(nested(MAX_JSON_DEPTH)))
        checks.check_raw_values({"k": deepest}, "state")
        with pytest.raises(InvalidRequest, match="nested deeper"):
            checks.check_raw_values({"k": deepest, "l": deeper}, "state")

    def test_bytes_that_are_not_utf8_are_refused(self) -> None:
        checks.check_utf8("é😀\x00".encode(), "message")
        with pytest.raises(InvalidRequest, match="not UTF-8") as caught:
            checks.check_utf8(b'{"k":"\xff"}', "message")
        assert caught.value.field == "message"

    @pytest.mark.parametrize("text", [b"", b"{", b"nul", b"NaN", b"1e400", b"[" * 100_000])
    def test_what_is_not_json_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.decode_json(text, "metadata")
        assert caught.value.field == "metadata"


class TestStateKeys:
    def test_the_prefix_counts_towards_the_limit(self) -> None:
        longest = "user:" + "k" * (MAX_STATE_KEY_BYTES - 5)
        checks.check_state_keys({longest: 1}, "state")
        with pytest.raises(InvalidRequest) as caught:
            checks.check_state_keys([longest + "k"], "delete")
        assert (caught.value.field, caught.value.limit) == ("delete key", MAX_STATE_KEY_BYTES)

    @pytest.mark.parametrize("key", ["", "a\x00", LONE_SURROGATE])
    def test_keys_must_be_storable_text(self, key: str) -> None:
        with pytest.raises(InvalidRequest):
            checks.check_state_keys({key: 1}, "state")


class TestPage:
    @pytest.mark.parametrize("limit", [1, MAX_PAGE_SIZE])
    def test_a_page_within_the_limits_passes(self, limit: int) -> None:
        checks.check_page(limit, "c" * MAX_CURSOR_BYTES)

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE_SIZE + 1])
    def test_a_page_of_another_size_is_refused(self, limit: int) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.check_page(limit, None)
        assert caught.value.field == "limit"

    @pytest.mark.parametrize("cursor", ["", "c" * (MAX_CURSOR_BYTES + 1)])
    def test_what_cannot_be_a_cursor_is_refused(self, cursor: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            checks.check_page(1, cursor)
        assert caught.value.field == "cursor"
