"""The three places where state lives, and the prefixes that choose one."""

from __future__ import annotations

from enum import Enum


class Scope(Enum):
    """Where a state key lives; the value is its prefix."""

    APP = "app:"
    USER = "user:"
    TEMP = "temp:"
    SESSION = ""


_SCOPES = {scope.value.rstrip(":"): scope for scope in Scope if scope.value}
#: Looked up once: each look at an enum's value is a call.
_TEMPORARY = Scope.TEMP.value


def split_state_key(name: str) -> tuple[Scope, str]:
    """The scope of a state key and the key without its prefix."""
    prefix, colon, bare = name.partition(":")
    scope = _SCOPES.get(prefix) if colon else None
    return (Scope.SESSION, name) if scope is None else (scope, bare)


def is_temporary(name: str) -> bool:
    """Whether a state key is never stored."""
    return name.startswith(_TEMPORARY)
