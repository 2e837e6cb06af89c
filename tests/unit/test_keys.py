"""Keys name sessions and artifacts: any text, never a path, never mixed up."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest
from api_client.contract.keys import (
    ArtifactKey,
    SessionKey,
    check_artifact_key,
    check_session_key,
)
from api_client.contract.limits import MAX_ID_BYTES, MAX_NAME_BYTES
from api_client.contract.ordering import artifact_ordering, session_ordering

#: Each of these was one file name with another one, or outside of its folder, in the seed.
HOSTILE = ["..", ".", "../x", "/etc/passwd", "a/b", "a\\b", "a:b", "a_b", "~", "%2e%2e", "CON", "é"]


def test_keys_are_values() -> None:
    key = SessionKey("app", "user", "session")
    assert key == SessionKey("app", "user", "session")
    assert len({key, SessionKey("app", "user", "session")}) == 1
    assert sorted([SessionKey("b", "a", "a"), key]) == [key, SessionKey("b", "a", "a")]


def test_a_key_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SessionKey("app", "user", "session").user = "other"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["app", "user", "session"])
@pytest.mark.parametrize("value", ["", "a\x00b", "\ud800", "x" * (MAX_ID_BYTES + 1), 5, None])
def test_an_error_names_the_bad_field(field: str, value: Any) -> None:
    fields = {"app": "a", "user": "u", "session": "s"} | {field: value}
    for make in (lambda: SessionKey(**fields), lambda: ArtifactKey(**fields, name="n")):
        with pytest.raises(InvalidRequest) as caught:
            make()
        assert caught.value.field == field


def test_a_name_has_a_limit_of_its_own() -> None:
    ArtifactKey("a", "u", "s", "n" * MAX_NAME_BYTES)
    with pytest.raises(InvalidRequest) as caught:
        ArtifactKey("a", "u", "s", "n" * (MAX_NAME_BYTES + 1))
    assert (caught.value.field, caught.value.limit) == ("name", MAX_NAME_BYTES)


@pytest.mark.parametrize("kind", [SessionKey, ArtifactKey])
@pytest.mark.parametrize(
    ("field", "value"), [("user", ""), ("user", "a\x00"), ("session", "x" * 257)]
)
def test_a_key_off_the_wire_is_checked_as_one_made_here(
    kind: type[Any], field: str, value: str
) -> None:
    fields = {"app": "a", "user": "u", "session": "s", field: value}
    if kind is ArtifactKey:
        fields["name"] = "n"
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(codec.encode(fields), kind)
    assert caught.value.field == field


def test_a_key_with_an_unknown_field_is_refused() -> None:
    raw = b'{"app":"a","user":"u","session":"s","tenant":"t"}'
    with pytest.raises(InvalidRequest, match="tenant"):
        codec.decode(raw, SessionKey)


def test_fresh_session_ids_differ_and_sort_by_age() -> None:
    keys = [SessionKey.new("app", "user") for _ in range(100)]
    assert len(set(keys)) == 100
    assert keys == sorted(keys)


def test_seed_fault_names_joined_into_paths_every_name_is_a_name_of_its_own() -> None:
    artifacts = {ArtifactKey("app", "user", "session", name) for name in HOSTILE}
    sessions = {SessionKey("app", "user", name) for name in HOSTILE}
    assert len(artifacts) == len(sessions) == len(HOSTILE)
    assert {key.name for key in artifacts} == set(HOSTILE)


def test_seed_fault_in_memory_sessions_ignore_app_and_user() -> None:
    keys = [SessionKey(*parts) for parts in permutations(["a", "b", "c"])]
    keys += [SessionKey("a", "b/c", "d"), SessionKey("a/b", "c", "d"), SessionKey("a", "b", "c/d")]
    assert len(set(keys)) == len(keys)
    assert len({session_ordering(key) for key in keys}) == len(keys)


class TestUserScope:
    def test_a_name_with_the_prefix_belongs_to_the_user(self) -> None:
        key = ArtifactKey("app", "user", "session", "user:report.pdf")
        assert key.user_scoped
        assert artifact_ordering(key) == artifact_ordering(
            ArtifactKey("app", "user", "other session", "user:report.pdf")
        )

    @pytest.mark.parametrize("name", ["user", "User:x", " user:x", "users:x", "x/user:y"])
    def test_any_other_name_belongs_to_the_session(self, name: str) -> None:
        assert not ArtifactKey("app", "user", "session", name).user_scoped

    def test_seed_fault_a_session_called_user_collides_with_user_scope(self) -> None:
        of_session = ArtifactKey("app", "user", "user", "report.pdf")
        of_user = ArtifactKey("app", "user", "session", "user:report.pdf")
        assert not of_session.user_scoped
        assert artifact_ordering(of_session) != artifact_ordering(of_user)


@pytest.mark.parametrize("value", [("a", "u", "s"), "a/u/s", None, ArtifactKey("a", "u", "s", "n")])
def test_only_a_session_key_names_a_session(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=type(value).__name__) as caught:
        check_session_key(value)
    assert caught.value.field == "key"


@pytest.mark.parametrize("value", [("a", "u", "s", "n"), None, SessionKey("a", "u", "s")])
def test_only_an_artifact_key_names_an_artifact(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=type(value).__name__) as caught:
        check_artifact_key(value)
    assert caught.value.field == "key"
