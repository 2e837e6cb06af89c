"""Any value that Python calls JSON, in a form that the wire carries without changing it.

Agent frameworks keep what their models accept: lone surrogates, NaN and infinities, integers of any
size, deep nesting. The wire takes none of these, because readers in other languages could not. A
value that holds one travels as an object with one member, which holds the value's JSON text in
base64. All others travel as they are, for everybody to read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from api_client.contract.checks import check_json, check_text, json_encoder
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_JSON_DEPTH, MAX_STATE_KEY_BYTES
from api_client.contract.scopes import split_state_key

#: Levels of nesting. Reading needs Python's stack, of which a reader may have less left than the
#: writer had, so that this is far below what Python follows.
MAX_DEPTH: Final = 400

#: The only member of an object that stands for such a value, and what begins such a state key.
MARK = "zdk:exact"


def carried(value: Any, field: str = "value") -> Any:
    """``value``, or what stands for it if the wire cannot carry it; see `restored`.

    Parameters:
        value: str, int, float, bool, None, and lists and dicts with string keys of these.
        field: its name in errors.

    Raises:
        InvalidRequest: it holds an integer of more digits than Python writes (4,300 unless set
            otherwise), or is nested deeper than `MAX_DEPTH` levels.
    """
    if _is_plain(value):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"{field} cannot be written as JSON: {error}", field=field) from None
    _check_depth(value, field)
    return {MARK: _packed(text)}


def restored(value: Any) -> Any:
    """What `carried` was given."""
    if not isinstance(value, dict) or len(value) != 1 or MARK not in value:
        return value
    try:
        return json.loads(_unpacked(value[MARK]))
    except (ValueError, TypeError, AttributeError):
        # Somebody else's object: `carried` never lets one of its own callers' through.
        return value


def carried_state(state: Mapping[str, Any], field: str = "state") -> dict[str, Any]:
    """State whose keys and values are carried, each by itself; prefixes stay as they are."""
    return {_carried_key(name): carried(value, field) for name, value in state.items()}


def restored_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """What `carried_state` was given."""
    return {_restored_key(name): restored(value) for name, value in state.items()}


def label(text: str) -> str | None:
    """``text`` if it can be an identifier of the store, else a hash that stands for it; None if it
    is empty."""
    if not text:
        return None
    try:
        check_text(text, "text")
    except InvalidRequest:
        return f"sha256:{hashlib.sha256(_utf8(text)).hexdigest()}"
    return text


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict) and MARK in value:
        return False
    try:
        # A value of state is one level further down.
        check_json(value, "value", MAX_JSON_DEPTH - 1)
        json_encoder.encode(value)
    except (InvalidRequest, UnicodeEncodeError):
        return False
    return True


def _check_depth(value: Any, field: str) -> None:
    """Refuse ``value``, which does not hold itself, if it has more than `MAX_DEPTH` levels."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for one in level if isinstance(one, (dict, list, tuple)) for item in _in(one)]
        if not level:
            return
    raise InvalidRequest(
        f"{field} is nested deeper than {MAX_DEPTH} levels", field=field, limit=MAX_DEPTH
    )


def _in(container: dict[str, Any] | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _carried_key(name: str) -> str:
    scope, bare = split_state_key(name)
    if not bare.startswith(MARK):
        try:
            check_text(name, "key", MAX_STATE_KEY_BYTES)
        except InvalidRequest:
            pass
        else:
            return name
    return f"{scope.value}{MARK}:{_packed(bare)}"


def _restored_key(name: str) -> str:
    if MARK not in name:
        return name
    scope, bare = split_state_key(name)
    if not bare.startswith(MARK):
        return name
    try:
        return scope.value + _unpacked(bare.removeprefix(f"{MARK}:"))
    except ValueError:
        return name


def _packed(text: str) -> str:
    return base64.b64encode(_utf8(text)).decode()


def _unpacked(packed: str) -> str:
    return base64.b64decode(packed, validate=True).decode("utf-8", "surrogatepass")


def _utf8(text: str) -> bytes:
    """The UTF-8 form of text, extended to lone surrogates, which has an exact way back."""
    return text.encode("utf-8", "surrogatepass")
