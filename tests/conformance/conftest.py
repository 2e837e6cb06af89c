"""A client of each combination, and names that no other test uses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api_client import ArtifactKey, SessionKey, StorageClient
from api_client.contract.records import new_id
from tests.support.workers import Stack

#: Names that a careless store would confuse, lose or take for something else.
NASTY = (
    *(".", "..", "...", "../x", "../../x", "x/..", "/", "/etc/passwd", "~", "~root", "CON", "nul.txt"),
    *("a/b", "a:b", "a_b", "a\\b", "a b", "a%2Fb", "a%b", "a+b", "a.b", "a\nb", "a\rb", "a\tb", "ab"),
    *("A", "a", "a ", " a", " ", "a.", ".a", "\x01", "\x7f", "a\u200bb", "\u202ea", "\ufeffa"),
    *("é", "e\u0301", "ß", "ss", "İ", "i", "日本語", "😀", "👩‍👩‍👧", "\U0010ffff", "\uffff", "\ue000"),
    *("*", "?", "%", "_", "'", '"', "`", ";", "--", "'; DROP TABLE sessions; --", "$(x)", "{}", "\\"),
    *("user", "session", "app", "user ", "USER:x", "null", "None", "0", "-1", "NaN", "true", "[]"),
    *("x" * 256, "x" * 1024, "é" * 512, "😀" * 256),
)


@pytest.fixture
def client(stack: Stack) -> StorageClient:
    """An open client of the combination."""
    return stack.clients(1)[0]


@pytest.fixture
def clients(stack: Stack) -> list[StorageClient]:
    """Three of them that see the same stores; see `Stack.clients`."""
    return stack.clients(3)


@pytest.fixture
def app() -> str:
    """An app that only this test uses."""
    return f"app-{new_id()}"


@pytest.fixture
def key(app: str) -> SessionKey:
    """A session that nobody has created yet."""
    return SessionKey(app, "user", "session")


@pytest.fixture
def session(client: StorageClient, key: SessionKey) -> SessionKey:
    """A session that was just created."""
    client.sessions.create(key).result()
    return key


@pytest.fixture
def artifact(app: str) -> Callable[[str], ArtifactKey]:
    """Makes keys of artifacts in one session by name."""
    return lambda name: ArtifactKey(app, "user", "session", name)
