"""Checks that client and worker share: identifiers, numbers, JSON values, state.

Every function raises `InvalidRequest` (or `TooLarge`) that names the field and the limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

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

#: Types whose values are all JSON.
_ATOMS = frozenset({str, bool, type(None)})
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
#: Makes all digits alike, and all exponents; a regular expression would take ten times as long.
_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_NUMBERS = (b"0" * 100, b"e000", b"e+000")


def _plain(value: Any) -> Any:
    """What msgspec shall write for a subclass of a JSON type, such as numpy's float64."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise InvalidRequest(f"a {type(value).__name__} is not JSON")


#: Writes what `check_json` lets pass.
json_encoder = msgspec.json.Encoder(enc_hook=_plain)


def check_text(value: object, field: str, limit: int = MAX_ID_BYTES) -> None:
    """Refuse ``value`` unless it is a non-empty string of at most ``limit`` UTF-8 bytes.

    NUL is refused because PostgreSQL cannot store it in text, lone surrogates because they have
    no UTF-8 form.
    """
    if type(value) is str and value.isascii() and 0 < len(value) <= limit and "\x00" not in value:
        # Most are.
        return
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} must be a string, not {type(value).__name__}", field=field)
    if not value:
        raise InvalidRequest(f"{field} must not be empty", field=field)
    if "\x00" in value:
        raise InvalidRequest(f"{field} must not contain NUL", field=field)
    if len(value) > limit or utf8_length(value, field) > limit:
        raise InvalidRequest(f"{field} exceeds {limit} bytes of UTF-8", field=field, limit=limit)


def utf8_length(value: str, field: str) -> int:
    """The UTF-8 length of ``value`` in bytes; a lone surrogate is refused."""
    try:
        return len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{field} contains a lone surrogate, which has no UTF-8 form", field=field
        ) from None


def check_count(value: object, field: str, *, least: int = 0, most: int = MAX_COUNT) -> None:
    """Refuse ``value`` unless it is an integer between ``least`` and ``most``, both included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{field} must be an integer, not {type(value).__name__}", field=field)
    if value < least:
        raise InvalidRequest(f"{field} must be at least {least}", field=field, limit=least)
    if value > most:
        raise InvalidRequest(f"{field} must be at most {most}", field=field, limit=most)


def check_time(value: object, field: str) -> None:
    """Refuse ``value`` unless it is a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidRequest(f"{field} must be a datetime, not {type(value).__name__}", field=field)
    if value.utcoffset() is None:
        raise InvalidRequest(
            f"{field} has no time zone; use datetime.now(timezone.utc)", field=field
        )
    try:
        value.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidRequest(f"{field} is out of range in UTC", field=field) from None


def check_json(value: Any, field: str, depth: int = MAX_JSON_DEPTH) -> None:
    """Refuse ``value`` unless JSON can carry it without changing its meaning.

    That is: str, bool, None, int up to `MAX_INTEGER_BITS`, finite float, and lists, tuples and
    dicts with string keys of these, at most ``depth`` levels deep.
    """
    if type(value) in _ATOMS:
        return
    if isinstance(value, (dict, list, tuple)):
        _check_container(value, field, depth)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequest(f"{field} contains {value}, which JSON cannot carry", field=field)
    elif isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise InvalidRequest(
                f"{field} contains an integer of more than {MAX_INTEGER_BITS} bits",
                field=field,
                limit=MAX_INTEGER_BITS,
            )
    elif not isinstance(value, str):
        raise InvalidRequest(
            f"{field} contains a {type(value).__name__}, which is not JSON", field=field
        )


def _check_container(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...], field: str, depth: int
) -> None:
    if depth == 0:
        raise InvalidRequest(
            f"{field} is nested deeper than {MAX_JSON_DEPTH} levels",
            field=field,
            limit=MAX_JSON_DEPTH,
        )
    items: Iterable[Any] = value
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                _check_key(key, field)
        items = value.values()
    for item in items:
        # Most are, and a call for each would take longer than all the rest.
        if type(item) not in _ATOMS:
            check_json(item, field, depth - 1)


def _check_key(key: object, field: str) -> None:
    if not isinstance(key, str):
        raise InvalidRequest(
            f"{field} has a key of type {type(key).__name__}; JSON keys are strings", field=field
        )


def encode_json(value: Any, field: str, limit: int) -> bytes:
    """``value`` as JSON bytes, checked by `check_json` and against ``limit`` bytes."""
    check_json(value, field)
    try:
        encoded = json_encoder.encode(value)
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"{field} contains a lone surrogate, which has no UTF-8 form", field=field
        ) from None
    check_size(len(encoded), field, limit)
    return encoded


def check_size(size: int, field: str, limit: int) -> None:
    """Refuse a ``size`` in bytes above ``limit``."""
    if size > limit:
        raise TooLarge(
            f"{field} takes {size:,} bytes; the limit is {limit:,}", field=field, limit=limit
        )


def check_raw(raw: bytes | msgspec.Raw, field: str, depth: int = MAX_JSON_DEPTH) -> None:
    """Refuse JSON text of a caller's value that readers could not take; see `check_json`.

    The text is known to be JSON. Nearly all of it is cleared by looking for what could be wrong
    (many brackets, long numbers, large exponents, surrogates); only the rest is parsed.
    """
    text = bytes(raw)
    brackets = text.count(b"{") + text.count(b"[")
    if brackets > depth or _is_suspicious(text):
        check_json(decode_json(text, field), field, depth)


def _is_suspicious(text: bytes) -> bool:
    """Whether JSON may hold a long integer, a float beyond all bounds, or a lone surrogate."""
    shape = text.translate(_SHAPES)
    if b"000" in shape and any(number in shape for number in _LARGE_NUMBERS):
        return True
    return b"\\u" in text and _SURROGATE.search(text) is not None


def check_utf8(text: bytes, field: str) -> None:
    """Refuse bytes that are not UTF-8, which a JSON parser that skips over values may miss."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{field} is not UTF-8: {error.reason}", field=field) from None


def check_raw_values(values: Mapping[str, msgspec.Raw], field: str) -> None:
    """Check each value of an object that itself counts as one level."""
    for value in values.values():
        check_raw(value, field, MAX_JSON_DEPTH - 1)


def decode_json(text: bytes | str, field: str) -> Any:
    """The value of JSON ``text``; text that is not JSON is refused."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"{field} is not JSON: {error}", field=field) from None


def check_state_keys(keys: Mapping[str, object] | list[str], field: str) -> None:
    """Refuse state keys that are not text within `MAX_STATE_KEY_BYTES`."""
    for key in keys:
        check_text(key, f"{field} key", MAX_STATE_KEY_BYTES)


def check_page(limit: int, cursor: str | None) -> None:
    """Refuse a page size outside 1 to `MAX_PAGE_SIZE`, or a cursor that cannot be one."""
    check_count(limit, "limit", least=1, most=MAX_PAGE_SIZE)
    if cursor is not None:
        check_text(cursor, "cursor", MAX_CURSOR_BYTES)
