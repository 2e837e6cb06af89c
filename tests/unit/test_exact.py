"""What the wire cannot carry goes there and back all the same. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_client import InvalidRequest
from api_client.contract.checks import check_text, encode_json
from api_client.contract.exact import (
    MARK,
    MAX_DEPTH,
    carried,
    carried_state,
    label,
    restored,
    restored_state,
)
from api_client.contract.limits import MAX_JSON_DEPTH, MAX_STATE_BYTES
from api_client.contract.scopes import split_state_key

#: All code points, lone surrogates among them.
texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\ud83d\ude00", MARK])
values = st.recursive(
    st.none() | st.booleans() | st.floats() | texts | st.integers(-(2**5000), 2**5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
keys = st.builds(lambda prefix, bare: prefix + bare, st.sampled_from(["", "app:", "user:"]), texts)


def over_the_wire(value: Any) -> Any:
    """``value`` as it comes out of the store; refused if the client would refuse it."""
    return msgspec.json.decode(encode_json(value, "value", MAX_STATE_BYTES))


def nested(levels: int) -> Any:
    value: Any = "deepest"
    for _ in range(levels):
        value = [value]
    return value


def same(one: Any, other: Any) -> bool:
    """Equal, also in the type of numbers, in their sign, and where they are not numbers."""
    return repr(one) == repr(other)


@given(values)
def test_values(value: Any) -> None:
    assert same(restored(over_the_wire(carried(value))), value)


@given(st.dictionaries(keys, values, max_size=3))
def test_state(state: dict[str, Any]) -> None:
    sent = carried_state(state)
    for name, original in zip(sent, state, strict=True):
        check_text(name, "key", 10_000)
        assert split_state_key(name)[0] is split_state_key(original)[0]
    assert same(restored_state(over_the_wire(sent)), state)


def test_plain_values_travel_for_everybody_to_read() -> None:
    plain = {"a": [1, None, "é \x00"], "b": {"c": 0.1}}
    assert carried(plain) is plain
    assert carried_state({"app:k": plain}) == {"app:k": plain}


@pytest.mark.parametrize("value", [{MARK: "x"}, {MARK: carried("\ud800")}, {MARK: 1, "more": 2}])
def test_a_value_that_looks_like_a_carried_one(value: Any) -> None:
    assert restored(over_the_wire(carried(value))) == value
    assert restored_state(over_the_wire(carried_state({"k": value}))) == {"k": value}


@pytest.mark.parametrize("packed", ["x", 5, None, "!", "/w==", "eA=="])
def test_what_others_have_written_under_the_mark_is_left_alone(packed: Any) -> None:
    assert restored({MARK: packed}) == {MARK: packed}
    assert restored_state({f"app:{MARK}:{packed}é": 1}) == {f"app:{MARK}:{packed}é": 1}


def test_deep_nesting() -> None:
    value = nested(MAX_JSON_DEPTH * 3)
    assert restored(over_the_wire(carried(value))) == value


def test_too_deep_nesting() -> None:
    """A reader with less of the stack left could not read what Python can write."""
    assert restored(over_the_wire(carried(nested(MAX_DEPTH)))) == nested(MAX_DEPTH)
    with pytest.raises(InvalidRequest, match=f"deeper than {MAX_DEPTH} levels") as refused:
        carried(nested(MAX_DEPTH + 1), "delta")
    assert (refused.value.field, refused.value.limit) == ("delta", MAX_DEPTH)


def test_what_python_cannot_write_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="delta cannot be written as JSON") as refused:
        carried(10**4300, "delta")
    assert refused.value.field == "delta"


def test_labels() -> None:
    assert label("") is None
    assert label("é 1") == "é 1"
    odd = ["a\x00", "a\ud800", "x" * 257, "y" * 257]
    hashed = [label(one) for one in odd]
    assert len({*hashed}) == len(odd)
    assert all(one is not None and one.startswith("sha256:") for one in hashed)
    assert json.dumps(hashed) == json.dumps([label(one) for one in odd])
