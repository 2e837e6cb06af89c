"""The three places where state lives, and the prefixes that choose one."""

from __future__ import annotations

from enum import Enum


class Scope(Enum):
    """Where a state key lives; the value is its prefix."""

    APP = "app:"
    USER = "user:"
    TEMP = "temp:"
    SESSION = ""


def split_state_key(name: str) -> tuple[Scope, str]:
    """The scope of a state key and the key without its prefix."""
    for scope in (Scope.APP, Scope.USER, Scope.TEMP):
        if name.startswith(scope.value):
            return scope, name[len(scope.value) :]
    return Scope.SESSION, name


def is_temporary(name: str) -> bool:
    """Whether a state key is never stored."""
    return name.startswith(Scope.TEMP.value)
