"""A client of each combination, and names that no other test uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api_client import ArtifactKey, SessionKey, StorageClient
from api_client.contract.records import new_id
from tests.support.workers import Stack

#: Names that a careless store would confuse, lose or take for something else.
NASTY = (
    *(
        ".",
        "..",
        "...",
        "../x",
        "../../x",
        "x/..",
        "/",
        "/etc/passwd",
        "~",
        "~root",
        "CON",
        "nul.txt",
    ),
    *(
        "a/b",
        "a:b",
        "a_b",
        "a\\b",
        "a b",
        "a%2Fb",
        "a%b",
        "a+b",
        "a.b",
        "a\nb",
        "a\rb",
        "a\tb",
        "ab",
    ),
    *("A", "a", "a ", " a", " ", "a.", ".a", "\x01", "\x7f", "a\u200bb", "\u202ea", "\ufeffa"),
    *(
        "é",
        "e\u0301",
        "ß",
        "ss",
        "İ",
        "i",
        "日本語",
        "😀",
        "👩‍👩‍👧",
        "\U0010ffff",
        "\uffff",
        "\ue000",
    ),
    *(
        "*",
        "?",
        "%",
        "_",
        "'",
        '"',
        "`",
        ";",
        "--",
        "'; DROP TABLE sessions; --",
        "$(x)",
        "{}",
        "\\",
    ),
    *("user", "session", "app", "user ", "USER:x", "null", "None", "0", "-1", "NaN", "true", "[]"),
    *("x" * 256, "x" * 1024, "é" * 512, "😀" * 256),
)


def nested(depth: int) -> Any:
    """A value with so many levels of lists and dicts."""
    value: Any = "deepest"
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


#: JSON values that a careless store would change or lose.
EXACT: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0,
    "empty text": "",
    "empty list": [],
    "empty dict": {},
    "integer as float": 1.0,
    "negative zero": -0.0,
    "floats": [0.1, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 123456789.123456789],
    "beyond 53 bits": [2**53 + 1, -(2**53) - 1],
    "beyond 64 bits": [2**63, -(2**63) - 1, 2**64, 10**30],
    "as many bits as allowed": [2**4096 - 1, -(2**4096) + 1],
    "NUL": "a\x00b",
    "NUL in a key": {"a\x00b": "\x00"},
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029",
    "quotes and slashes": "\"'\\/\\\\u0000 </script> \\x00",
    "unicode": "é e\u0301 日本語 😀 👩‍👩‍👧 \U0010ffff \uffff \ufeff",
    "unicode in a key": {"é": 1, "e\u0301": 2, "😀": 3},
    "key order": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}, "10": 3, "9": 4, "": 5},
    "names of our own": {"seq": -1, "id": "x", "partial": True, "events": [], "op": "x"},
    "nested deep": nested(90),
    "wide": [list(range(300)), {str(n): n for n in range(300)}],
    "JSON in text": '{"a": [1, null]}',
    "brackets in text": "[{" * 300,
}


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
