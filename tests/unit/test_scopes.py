"""The prefixes that say where a piece of state lives."""

from __future__ import annotations

import pytest

from api_client.contract.scopes import Scope, is_temporary, split_state_key


@pytest.mark.parametrize(
    ("name", "scope", "bare"),
    [
        ("app:theme", Scope.APP, "theme"),
        ("user:tier", Scope.USER, "tier"),
        ("temp:draft", Scope.TEMP, "draft"),
        ("step", Scope.SESSION, "step"),
    ],
)
def test_a_prefix_chooses_the_scope(name: str, scope: Scope, bare: str) -> None:
    assert split_state_key(name) == (scope, bare)


@pytest.mark.parametrize("name", ["app", "App:x", " app:x", "application:x", "user", "tempx", ":x"])
def test_what_is_no_prefix_belongs_to_the_session_whole(name: str) -> None:
    assert split_state_key(name) == (Scope.SESSION, name)


def test_only_the_first_prefix_counts() -> None:
    assert split_state_key("app:user:x") == (Scope.APP, "user:x")


@pytest.mark.parametrize("prefix", ["app:", "user:", "temp:"])
def test_a_prefix_alone_names_the_empty_key_of_its_scope(prefix: str) -> None:
    scope, bare = split_state_key(prefix)
    assert (scope.value, bare) == (prefix, "")


@pytest.mark.parametrize("name", ["app:x", "user:x", "temp:x", "x", "temp", "app:temp:x"])
def test_only_temp_keys_are_temporary(name: str) -> None:
    assert is_temporary(name) is (name == "temp:x")
