"""Models put together of their fields are those that pydantic makes."""

from __future__ import annotations

import copy
from typing import Any, Optional

import pytest
from google.adk.events import Event, EventActions
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from api_client.adapters.adk import rebuild as module
from api_client.adapters.adk.rebuild import rebuild
from tests.adapters.adk.samples import ANYTHING, full_event, parts_of_every_kind
from tests.adapters.adk.session_contract import event
from tests.unit.test_exact import values


def check(data: dict[str, Any], model: type[BaseModel] = Event) -> Any:
    """That both ways lead to the same; what they lead to."""
    validated = model.model_validate(copy.deepcopy(data))
    rebuilt = rebuild(model, copy.deepcopy(data))
    assert type(rebuilt) is model
    assert rebuilt == validated
    assert repr(rebuilt) == repr(validated)
    assert rebuilt.model_fields_set == validated.model_fields_set
    assert rebuilt.model_dump() == validated.model_dump()
    assert rebuilt.model_dump_json() == validated.model_dump_json()
    assert rebuilt.model_copy(deep=True) == validated
    return rebuilt


def dump(sent: BaseModel) -> dict[str, Any]:
    return sent.model_dump(mode="json", exclude_none=True)


def test_a_full_event() -> None:
    check(dump(full_event()))


@pytest.mark.parametrize("number", range(len(types.Part.model_fields) + 1))
def test_parts(number: int) -> None:
    part = parts_of_every_kind()[number]
    check(dump(event(content=types.Content(role="model", parts=[part]))))


@pytest.mark.parametrize("name", Event.model_fields)
def test_each_field_by_itself(name: str) -> None:
    whole = dump(full_event())
    check({"id": "e", "timestamp": 1.5, name: whole[name]})


@pytest.mark.parametrize("name", EventActions.model_fields)
def test_each_action_by_itself(name: str) -> None:
    whole = dump(full_event())["actions"]
    check({"id": "e", "timestamp": 1.5, "actions": {name: whole[name]}})


@given(values, st.text(), st.floats(allow_nan=False) | st.integers(-(2**53), 2**53))
def test_values_of_any_kind(value: Any, text: str, number: float) -> None:
    data = dump(event({"k": 1}, content=types.Content(parts=[types.Part(text=text)])))
    check({**data, "timestamp": number})
    data |= {"output": value, "custom_metadata": {"x": value}}
    assert repr(rebuild(Event, data)) == repr(Event.model_validate(data))


def test_usual_events_are_not_left_to_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = event(
        {"k": ANYTHING},
        content=types.Content(
            role="model",
            parts=[
                types.Part(text="x", thought=True, thought_signature=b"\x00\xff"),
                types.Part(function_call=types.FunctionCall(id="1", name="f", args={"a": 1})),
                types.Part(function_response=types.FunctionResponse(name="f", response={"b": 2})),
                types.Part.from_bytes(data=b"\xfe", mime_type="image/png"),
            ],
        ),
        finish_reason=types.FinishReason.STOP,
        turn_complete=True,
        branch="a.b",
    )
    data = dump(usual)
    for model in (Event, EventActions, types.Content, types.Part, types.FunctionCall, types.Blob):
        monkeypatch.setattr(model, "model_validate", None)
    assert rebuild(Event, data) == usual


class Inner(BaseModel):
    x: int = 1


class Plain(BaseModel):
    needed: str
    inner: Inner = Field(default_factory=Inner)
    numbers: list[int] = [1]
    some: Optional[float] = None  # noqa: UP045
    short: str = Field(default="", max_length=3)


class Ruled(BaseModel):
    x: int = 0

    @model_validator(mode="after")
    def _doubled(self) -> Ruled:
        self.x *= 2
        return self


class RuledField(BaseModel):
    x: int = 0

    @field_validator("x")
    @classmethod
    def _doubled(cls, value: int) -> int:
        return value * 2


class Private(BaseModel):
    x: int = 0
    _own: int = PrivateAttr(default=5)


class Posted(BaseModel):
    x: int = 0

    def model_post_init(self, _: Any) -> None:
        self.x += 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 0


class Bytes(BaseModel):
    """Bytes of a model that is not in base64 are UTF-8."""

    x: bytes = b""


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Plain, {"needed": "x"}),
        (Plain, {"needed": "x", "inner": {"x": 2}, "numbers": [3], "some": 0.5, "short": "abc"}),
        (Plain, {"needed": "x", "some": 1}),
        (Plain, {"needed": "x", "inner": {"x": "2"}, "some": "0.5"}),
        (Ruled, {"x": 2}),
        (RuledField, {"x": 2}),
        (Private, {"x": 2}),
        (Posted, {"x": 2}),
        (Open, {"x": 2, "more": 3}),
        (Bytes, {"x": "AAAA"}),
        (Event, {"id": "e", "timestamp": 1, "finish_reason": "STOP", "error_code": "x"}),
        (Event, {"id": "e", "timestamp": 1.0, "errorCode": "x", "unknown": 1}),
        (types.Blob, {"data": "-_8=", "mime_type": "x/y"}),
        (types.Blob, {"data": "+/8=", "mime_type": "x/y"}),
    ],
)
def test_models_of_other_kinds(model: type[BaseModel], data: dict[str, Any]) -> None:
    check(data, model)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (Plain, {}),
        (Plain, {"needed": 1}),
        (Plain, {"needed": "x", "inner": {"x": "y"}}),
        (Plain, {"needed": "x", "short": "abcd"}),
        (Event, {"id": "e", "actions": {"unknown": 1}}),
        (Event, {"id": "e", "content": {"parts": "x"}}),
        (Event, {"id": "e", "content": []}),
        (types.Blob, {"data": "not base64"}),
    ],
)
def test_what_pydantic_refuses_is_refused(model: type[BaseModel], data: dict[str, Any]) -> None:
    for make in (model.model_validate, lambda given_: rebuild(model, given_)):
        with pytest.raises(ValidationError):
            make(data)


def test_defaults_are_not_shared() -> None:
    one, other = (rebuild(Plain, {"needed": "x"}) for _ in range(2))
    one.inner.x = 5
    one.numbers.append(2)
    assert other == Plain(needed="x")
    event_, another = (rebuild(Event, {"id": "e", "timestamp": 1.0}) for _ in range(2))
    event_.actions.state_delta["k"] = 1
    assert another.actions.state_delta == {}


def test_a_rule_that_a_later_release_adds_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HARMLESS_RULES", set())
    module._plan.cache_clear()
    monkeypatch.setattr(Event, "model_validate", lambda data: "validated")
    assert rebuild(Event, {"id": "e"}) == "validated"
    monkeypatch.undo()
    module._plan.cache_clear()
