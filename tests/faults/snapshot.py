"""What the database and the blob store hold after a run, read without the product's own readers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as PgConnection

from tests.faults.operations import ID, ArtifactId, SessionId


@dataclass
class EventRow:
    """One event: its place, its id, and how many events its operation has."""

    seq: int
    event_id: str
    count: int


@dataclass
class SessionRow:
    """One session with its events by seq and its own state."""

    revision: int
    last_seq: int
    events: list[EventRow] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class VersionRow:
    """One version of an artifact, and the operation that its metadata names."""

    version: int
    sha256: str
    size: int
    operation: str


@dataclass
class ArtifactRow:
    """One artifact with its versions in order."""

    last_version: int
    versions: list[VersionRow] = field(default_factory=list)


@dataclass
class LetterRow:
    """A dead letter. ``text`` is its body with whatever is encoded inside, ready to search."""

    position: int
    code: str
    text: str


@dataclass
class Snapshot:
    """All of it.

    Attributes:
        blobs: the hash of the bytes that are really there, by the hash they are kept under.
    """

    sessions: dict[SessionId, SessionRow] = field(default_factory=dict)
    users: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[ArtifactId, ArtifactRow] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    letters: list[LetterRow] = field(default_factory=list)

    def mourned(self) -> dict[str, LetterRow]:
        """The dead letters of single operations, by the operation that they speak of."""
        return {found: letter for letter in self.letters for found in ID.findall(letter.text)}


def take_snapshot(connection: PgConnection, blobs: Path) -> Snapshot:
    """Read everything."""
    snapshot = Snapshot()
    keys = _read_sessions(connection, snapshot)
    _read_events(connection, snapshot, keys)
    _read_state(connection, snapshot, keys)
    _read_artifacts(connection, snapshot)
    _read_letters(connection, snapshot)
    snapshot.blobs = read_blobs(blobs)
    return snapshot


def read_blobs(root: Path) -> dict[str, str]:
    """The hash of every blob's bytes, by the hash they are kept under."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.glob("[0-9a-f][0-9a-f]/*")
    }


def searchable(body: bytes) -> str:
    """A dead letter's bytes as text, with the base64 inside a Celery message decoded."""
    text = body.decode("latin-1")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        text += base64.b64decode(json.loads(body)["body"]).decode("latin-1")
    return text


def _rows(connection: PgConnection, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _read_sessions(connection: PgConnection, snapshot: Snapshot) -> dict[int, SessionId]:
    keys: dict[int, SessionId] = {}
    query = "SELECT pk, app, user_id, session_id, revision, last_seq FROM sessions"
    for pk, app, user, session, revision, last_seq in _rows(connection, query):
        keys[pk] = (app, user, session)
        snapshot.sessions[keys[pk]] = SessionRow(revision, last_seq)
    return keys


def _read_events(connection: PgConnection, snapshot: Snapshot, keys: dict[int, SessionId]) -> None:
    query = "SELECT session_pk, seq, event_id, payload FROM events ORDER BY session_pk, seq"
    for pk, seq, event_id, payload in _rows(connection, query):
        count = json.loads(payload)["content"]["of"]
        snapshot.sessions[keys[pk]].events.append(EventRow(seq, event_id, count))


def _read_state(connection: PgConnection, snapshot: Snapshot, keys: dict[int, SessionId]) -> None:
    for pk, key, value in _rows(connection, "SELECT session_pk, key, value FROM session_state"):
        snapshot.sessions[keys[pk]].state[key] = json.loads(value)
    for app, user, key, value in _rows(
        connection, "SELECT app, user_id, key, value FROM user_state"
    ):
        snapshot.users.setdefault((app, user), {})[key] = json.loads(value)
    for app, key, value in _rows(connection, "SELECT app, key, value FROM app_state"):
        snapshot.apps.setdefault(app, {})[key] = json.loads(value)


def _read_artifacts(connection: PgConnection, snapshot: Snapshot) -> None:
    places: dict[int, ArtifactId] = {}
    query = "SELECT pk, app, user_id, session_id, name, last_version FROM artifacts"
    for pk, app, user, session, name, last in _rows(connection, query):
        places[pk] = (app, user, session, name)
        snapshot.artifacts[places[pk]] = ArtifactRow(last)
    query = (
        "SELECT artifact_pk, version, sha256, size, metadata FROM artifact_versions"
        " ORDER BY artifact_pk, version"
    )
    for pk, version, sha256, size, metadata in _rows(connection, query):
        operation = json.loads(metadata).get("operation", "")
        row = VersionRow(version, sha256, size, operation)
        snapshot.artifacts[places[pk]].versions.append(row)


def _read_letters(connection: PgConnection, snapshot: Snapshot) -> None:
    query = "SELECT position, code, body FROM dead_letters"
    for position, code, body in _rows(connection, query):
        snapshot.letters.append(LetterRow(position, code, searchable(bytes(body))))
