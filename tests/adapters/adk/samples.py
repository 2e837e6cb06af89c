"""Events with everything in them, made from the models themselves, so that a field that a later
release adds is in them too."""

from __future__ import annotations

import enum
import types as python_types
from datetime import date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fastapi.openapi.models import APIKey
from google.adk.auth.auth_credential import AuthCredential, AuthCredentialTypes
from google.adk.auth.auth_tool import AuthConfig
from google.adk.events import Event, EventActions
from google.genai import types
from pydantic import BaseModel

#: JSON that a careless store would change or lose.
ANYTHING: dict[str, Any] = {
    "none": None,
    "deep": [{"none": None}, [], {}],
    "numbers": [0, -1, 2**53 + 1, 2**70, 0.1, -0.0, 1.0, 5e-324, 1.7976931348623157e308],
    "text": "é 日本語 😀 \x00 \u2028 \ud7ff \uffff \\u0000 \"'",
    "\x00 é": True,
    "seq": 1,
    "state_delta": {"not": "state"},
}
#: What holds itself is filled so many levels deep.
_DEEPEST = 3
_PLAIN: dict[Any, Any] = {
    str: "é 😀 \x00",
    bool: True,
    int: 2**31 - 1,
    float: 0.1,
    bytes: bytes(range(256)),
    datetime: datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc),
    date: date(2026, 1, 31),
    timedelta: timedelta(seconds=1.5),
    Any: ANYTHING,
    object: ANYTHING,
}


def full_event(**changes: Any) -> Event:
    """An event of which every field is set."""
    fields = _fields(Event, (Event,))
    fields["content"] = types.Content(role="model", parts=parts_of_every_kind())
    fields["partial"] = False
    return Event(**{**fields, **changes})


def parts_of_every_kind() -> list[types.Part]:
    """One part for each field of `types.Part`, and one with all of them."""
    fields = _fields(types.Part, (types.Part,))
    return [types.Part(**{name: value}) for name, value in fields.items()] + [types.Part(**fields)]


def _actions() -> dict[str, Any]:
    fields = _fields(EventActions, (EventActions,))
    fields["state_delta"] = {"anything": ANYTHING, "none": None, "app:a": [1], "user:u": {"x": 2}}
    # Declared as Any, and with rules of its own.
    fields["requested_auth_configs"] = {
        "call-1": AuthConfig(
            auth_scheme=APIKey.model_validate({"in": "header", "name": "X-Key"}),
            raw_auth_credential=AuthCredential(
                auth_type=AuthCredentialTypes.API_KEY, api_key="not a secret"
            ),
            credential_key="key",
        )
    }
    return fields


def _fields(model: type[BaseModel], within: tuple[type, ...]) -> dict[str, Any]:
    return {name: _value(field.annotation, within) for name, field in model.model_fields.items()}


def _value(kind: Any, within: tuple[type, ...]) -> Any:
    """A value of an annotated type; ``within`` are the models around it."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(arguments[0], within)
    if origin is Literal:
        return arguments[-1]
    if origin in (Union, python_types.UnionType):
        return _value(next(one for one in arguments if one is not type(None)), within)
    if origin in (list, tuple):
        return [_value(arguments[0], within)]
    if origin is set:
        return {"call-2", "call-1"}
    if origin is dict:
        return {"key": _value(arguments[1], within)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[-1]
    if kind is EventActions:
        return EventActions(**_actions())
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if within.count(kind) >= _DEEPEST:
            return kind.model_construct()
        return kind(**_fields(kind, (*within, kind)))
    if kind in (dict, list):
        return kind()
    raise AssertionError(f"no sample of {kind!r}: add one")
