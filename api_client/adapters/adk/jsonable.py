"""ADK's values as JSON in Python's sense; `contract.exact` carries that over the wire."""

from __future__ import annotations

import base64
import logging
from typing import Any

from pydantic_core import to_jsonable_python

log = logging.getLogger(__name__)

_ATOMS = frozenset({str, int, float, bool, type(None)})


def jsonable(value: Any) -> Any:
    """``value`` as JSON in Python's sense, without loss.

    As pydantic does it (bytes become URL-safe base64, sets lists, enumerations their values), but
    keys with lone surrogates and numbers that are not finite stay what they are. What has no JSON
    form, such as a function, becomes its ``repr``, with a warning, as in ADK's own services.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {_jsonable_key(name): jsonable(item) for name, item in value.items()}
    if kind in (list, tuple):
        return [jsonable(item) for item in value]
    if kind is bytes:
        return base64.urlsafe_b64encode(value).decode()
    try:
        return to_jsonable_python(value)
    except ValueError:
        log.warning("a %s has no JSON form: its repr is stored instead", kind.__name__)
        return to_jsonable_python(value, serialize_unknown=True)


def _jsonable_key(name: Any) -> str:
    return name if type(name) is str else next(iter(to_jsonable_python({name: None})))
