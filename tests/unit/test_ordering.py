"""Which operations share an ordering key, and so may never overtake one another."""

from __future__ import annotations

import msgspec
import pytest

from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.ordering import OrderingKey, ordering_keys

KEY = SessionKey("app", "user", "session")
ONE = msgspec.Raw(b"1")

SESSION: OrderingKey = ("session", "app", "user", "session")
USER: OrderingKey = ("user", "app", "user")
APP: OrderingKey = ("app", "app")


def artifact(name: str) -> ArtifactKey:
    return ArtifactKey("app", "user", "session", name)


@pytest.mark.parametrize(
    ("operation", "keys"),
    [
        (CreateSession(key=KEY), {SESSION}),
        (CreateSession(key=KEY, state={"own": ONE, "temp:t": ONE}), {SESSION}),
        (CreateSession(key=KEY, state={"user:u": ONE}), {SESSION, USER}),
        (CreateSession(key=KEY, state={"app:a": ONE, "user:u": ONE}), {SESSION, USER, APP}),
        (UpdateState(key=KEY, delta={"own": ONE}), {SESSION}),
        (UpdateState(key=KEY, delta={"app:a": ONE}), {SESSION, APP}),
        (UpdateState(key=KEY, delete=["user:u"]), {SESSION, USER}),
        (UpdateState(key=KEY, delta={"app:a": ONE}, delete=["user:u"]), {SESSION, USER, APP}),
        (DeleteSession(key=KEY), {SESSION}),
        (SaveArtifact(key=artifact("x"), mime_type="a/b", data=b""), {SESSION}),
        (SaveArtifact(key=artifact("user:x"), mime_type="a/b", data=b""), {USER}),
        (DeleteArtifact(key=artifact("x")), {SESSION}),
        (DeleteArtifact(key=artifact("user:x")), {USER}),
    ],
)
def test_an_operation_touches_its_session_and_the_scopes_of_its_state(
    operation: WriteOperation, keys: set[OrderingKey]
) -> None:
    assert ordering_keys(operation) == keys


@pytest.mark.parametrize(
    ("state_keys", "keys"),
    [
        ([], {SESSION}),
        (["own", "temp:t"], {SESSION}),
        (["own", "app:a"], {SESSION, APP}),
        (["user:u", "user:v"], {SESSION, USER}),
        (["app:a", "user:u"], {SESSION, USER, APP}),
    ],
)
def test_an_append_touches_what_its_events_touch(
    state_keys: list[str], keys: set[OrderingKey]
) -> None:
    append = AppendEvents(key=KEY, events=[msgspec.Raw(b"{}")])
    assert ordering_keys(append, state_keys) == keys


def test_scopes_of_one_name_are_different_keys() -> None:
    # An app, a user and a session may all be called x; their keys must not meet.
    x = SessionKey("x", "x", "x")
    save = SaveArtifact(key=ArtifactKey("x", "x", "x", "user:x"), mime_type="a/b", data=b"")
    create = CreateSession(key=x, state={"app:x": ONE, "user:x": ONE})
    assert len(ordering_keys(create)) == 3
    assert ordering_keys(save) < ordering_keys(create)


def test_sessions_of_different_users_never_wait_for_one_another() -> None:
    one, other = (CreateSession(key=SessionKey("app", user, "session")) for user in ("a", "b"))
    assert ordering_keys(one).isdisjoint(ordering_keys(other))
