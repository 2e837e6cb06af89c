"""The three places where state lives, and the prefixes that choose one."""

from __future__ import annotations

from enum import Enum


class Scope(Enum):
    """Where a state key lives; the value is its prefix."""

    APP = "app:"
    USER = "user:"
    TEMP = "temp:"
    SESSION = ""


_SCOPES = {"app": Scope.APP, "user": Scope.USER, "temp": Scope.TEMP}


def split_state_key(name: str) -> tuple[Scope, str]:
    """The scope of a state key and the key without its prefix."""
    prefix, colon, bare = name.partition(":")
    scope = _SCOPES.get(prefix) if colon else None
    return (Scope.SESSION, name) if scope is None else (scope, bare)


def is_temporary(name: str) -> bool:
    """Whether a state key is never stored."""
    return name.startswith("temp:")
