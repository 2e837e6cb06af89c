"""Makes ADK's models again of the JSON that they have written themselves.

Most of the time that a load takes pydantic would spend on validating events, and most of that on
fields that are not there. Here, models without rules of their own are put together of their fields,
as ADK's own ``deep_copy_model`` puts together its copies: plain text, numbers and dicts of anything
are taken as they are. Wherever a model or a value is not as simple as that, pydantic validates it.
Both ways lead to equal models; ``tests/adapters/adk/test_rebuild.py`` compares them.
"""

from __future__ import annotations

import base64
import types
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin

from google.adk.events import Event
from google.genai.types import Part
from pydantic import BaseModel

#: Rules that change nothing about what a model has written: shortcuts for those who make events, a
#: warning about types, models made of what tools ask for (a field that is left to pydantic).
_HARMLESS_RULES = {
    "_accept_convenience_kwargs",
    "_check_field_type_mismatches",
    "_parse_auth_configs",
}
#: What these do for those who make models is done in what they have written: an id, shortcuts.
_HARMLESS_METHODS: dict[type, set[str]] = {Event: {"model_post_init"}, Part: {"__init__"}}
_PLAIN = (str, int, float, bool)
#: Sets of fields that are remembered of each model. Events of one app have a handful.
_MOST_SHAPES = 256
_STANDARD_ALPHABET = str.maketrans("-_", "+/")

Reader = Callable[[Any], Any]

# What an instance of a model consists of. A model's own way to set these takes twice as long.
_set_values, _set_names, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__
    for name in (
        "__dict__",
        "__pydantic_fields_set__",
        "__pydantic_extra__",
        "__pydantic_private__",
    )
)


class _NotPlain(Exception):
    """Pydantic has to look at it."""


def rebuild(model: type[BaseModel], data: dict[str, Any]) -> Any:
    """The model whose JSON is ``data``, by the names of its fields, without those that are None.

    The result holds parts of ``data``, which nobody else may use any more.

    Raises:
        pydantic.ValidationError: it is not of this model. Where in it, is not told.
    """
    return _plan(model).build(data)


class _Shape(NamedTuple):
    """What can be known of data that has certain fields.

    Attributes:
        plain: those whose value is taken as it is if it is of this very type.
        readers: those of the others.
        factories: of the fields that it does not have.
        names: the fields that it has.
    """

    plain: list[tuple[str, type]]
    readers: list[tuple[str, Reader]]
    factories: list[tuple[str, Callable[[], Any]]]
    names: set[str]


class _Plan:
    """What can be known of a model before any data."""

    def __init__(self, model: type[BaseModel]):
        self._model = model
        self._readers: dict[str, Reader] = {}
        #: The only type of a field's value that needs no reader.
        self._plain: dict[str, type] = {}
        self._template: dict[str, Any] = {}
        self._factories: list[tuple[str, Callable[[], Any]]] = []
        self._required: set[str] = set()
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        if _has_rules(model):
            # Without readers, any data is left to pydantic.
            self._required = {""}
            return
        for name, field in model.model_fields.items():
            self._read(name, _not_plain if field.metadata else _reader(model, field.annotation))
            self._template[name] = field.default
            if field.is_required():
                self._required.add(name)
            elif field.default_factory is not None:
                self._factories.append((name, field.default_factory))  # type: ignore[arg-type]
            elif field.default is not None and type(field.default) not in _PLAIN:
                # Pydantic would copy it.
                self._required.add(name)
        for rule in model.__pydantic_decorators__.field_validators.values():
            for name in rule.info.fields:
                self._read(name, _empty)

    def _read(self, name: str, reader: Reader | type) -> None:
        """Have a field read by ``reader``, or taken as it is if of this very type."""
        self._plain.pop(name, None)
        if isinstance(reader, type):
            self._plain[name], reader = reader, _not_plain
        self._readers[name] = reader

    def build(self, data: dict[str, Any]) -> Any:
        """An instance of ``data``."""
        given = tuple(data)
        shape = self._shapes.get(given) or self._new_shape(given)
        if shape is None:
            return self._model.model_validate(data)
        plain, readers, factories, names = shape
        for name, kind in plain:
            if type(data[name]) is not kind:
                return self._model.model_validate(data)
        values = {**self._template, **data}
        try:
            for name, read in readers:
                values[name] = read(data[name])
        except _NotPlain:
            return self._model.model_validate(data)
        for name, make in factories:
            values[name] = make()
        made = object.__new__(self._model)
        _set_values(made, values)
        _set_names(made, names.copy())
        _set_extra(made, None)
        _set_private(made, None)
        return made

    def _new_shape(self, names: tuple[str, ...]) -> _Shape | None:
        """That of data with these fields. None if pydantic has to look at it."""
        if not self._required <= set(names) <= self._readers.keys():
            return None
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        shape = self._shapes[names] = _Shape(
            plain=[(name, self._plain[name]) for name in names if name in self._plain],
            readers=[(name, self._readers[name]) for name in names if name not in self._plain],
            factories=[(name, make) for name, make in self._factories if name not in names],
            names=set(names),
        )
        return shape


@cache
def _plan(model: type[BaseModel]) -> _Plan:
    return _Plan(model)


def _has_rules(model: type[BaseModel]) -> bool:
    """Whether an instance is more than its fields, or comes about in a way of its own."""
    rules = model.__pydantic_decorators__
    named = {
        *rules.validators,
        *rules.field_validators,
        *rules.root_validators,
        *rules.model_validators,
    }
    methods = {"__init__", "__new__", "model_post_init"} - _HARMLESS_METHODS.get(model, set())
    return bool(
        named - _HARMLESS_RULES
        or model.__private_attributes__
        or model.model_config.get("extra") == "allow"
        or any(getattr(model, name) is not getattr(BaseModel, name) for name in methods)
    )


def _reader(model: type[BaseModel], kind: Any) -> Reader | type:
    """What reads the JSON of a field of this type, or the type of JSON that is its value."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        others = [one for one in arguments if one is not type(None)]
        return _reader(model, others[0]) if len(others) == 1 else _not_plain
    if kind is Any:
        return _as_it_is
    if origin is dict:
        return dict if arguments == (str, Any) else _empty
    if origin is list and _is_a(arguments[0], BaseModel):
        return _listed(arguments[0])
    if kind in _PLAIN:
        return kind  # type: ignore[no-any-return]
    if kind is bytes and model.model_config.get("val_json_bytes") == "base64":
        return _decoded
    if _is_a(kind, Enum):
        return _member(kind)
    return _nested(kind) if _is_a(kind, BaseModel) else _not_plain


def _is_a(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _as_it_is(value: Any) -> Any:
    return value


def _not_plain(value: Any) -> Any:
    raise _NotPlain


def _empty(value: Any) -> Any:
    if value != {}:
        raise _NotPlain
    return value


def _member(kind: type[Enum]) -> Reader:
    members = {one.value: one for one in kind if type(one.value) is str}

    def read(value: Any) -> Any:
        if type(value) is not str or value not in members:
            raise _NotPlain
        return members[value]

    return read


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(value.translate(_STANDARD_ALPHABET), validate=True)
    except (ValueError, AttributeError):
        raise _NotPlain from None


def _nested(model: type[BaseModel]) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _NotPlain
        return _plan(model).build(value)

    return read


def _listed(model: type[BaseModel]) -> Reader:
    one = _nested(model)

    def read(value: Any) -> Any:
        if type(value) is not list:
            raise _NotPlain
        return [one(item) for item in value]

    return read
