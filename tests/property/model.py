"""What the store promises, as plainly as Python can say it: dictionaries, lists, no batches.

The model takes the same operations as the store and answers with the same JSON, but for the times,
which only the store knows. It applies one operation after another and knows nothing of locks,
bulk statements or transactions, so that it can be read beside docs/wire.md and be believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from api_client.contract.codec import Message
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

Json = Any
#: An outcome without its times: ``{"ok": ...}``, or ``{"error": code}``.
Outcome = dict[str, Json]
#: Where an artifact is: app, user, session (None for the user's own), name.
Place = tuple[str, str, str | None, str]


class Refused(Exception):
    """An operation has failed; the argument is the code."""


@dataclass
class ModelSession:
    """A session.

    Attributes:
        born: in which call of `Model.apply` it was created.
        events: as appended, oldest first; the first has seq 1.
    """

    born: int
    revision: int = 0
    events: list[dict[str, Json]] = field(default_factory=list)
    state: dict[str, Json] = field(default_factory=dict)

    def seq_of(self, event_id: str) -> int | None:
        """The place of an event, if it is there."""
        ids = [event["id"] for event in self.events]
        return ids.index(event_id) + 1 if event_id in ids else None


@dataclass(frozen=True)
class ModelVersion:
    """A version of an artifact."""

    data: bytes
    mime_type: str
    metadata: Json

    @property
    def sha256(self) -> str:
        """The hash of its bytes."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class ModelArtifact:
    """An artifact; it is remembered after its last version has gone."""

    last: int = 0
    versions: dict[int, ModelVersion] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """The answer to a message: outcomes, or hashes that are missing, or a code."""

    outcomes: list[Outcome] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    error: str | None = None


class Model:
    """Everything that is stored."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, ModelSession] = {}
        self.app_state: dict[str, dict[str, Json]] = {}
        self.user_state: dict[tuple[str, str], dict[str, Json]] = {}
        self.artifacts: dict[Place, ModelArtifact] = {}
        #: Bytes that have reached the blob store, by hash; no bytes at all are always there.
        self.blobs: dict[str, bytes] = {hashlib.sha256().hexdigest(): b""}
        #: Messages applied: their operations as they were sent, and what became of them.
        self.ledger: dict[str, tuple[list[bytes], list[Outcome]]] = {}
        self.calls = 0
        #: The messages of the present call that have not been applied, by id.
        self.unapplied: dict[str, tuple[list[bytes], Reply]] = {}

    # Writing

    def apply(
        self, messages: Sequence[tuple[Message, Sequence[WriteOperation | None]]]
    ) -> list[Reply]:
        """Apply messages, each given with its operations; None stands for one that breaks the
        contract."""
        self.calls += 1
        self.unapplied = {}
        return [self._message(message, operations) for message, operations in messages]

    def _message(self, message: Message, operations: Sequence[WriteOperation | None]) -> Reply:
        sent = [bytes(raw) for raw in message.operations]
        if message.id in self.ledger:
            known, outcomes = self.ledger[message.id]
            return Reply(outcomes=outcomes) if known == sent else Reply(error="conflict")
        if message.id in self.unapplied:
            before, reply = self.unapplied[message.id]
            return reply if before == sent else Reply(error="conflict")
        missing = list(self._take_bytes(operations))
        if missing:
            self.unapplied[message.id] = (sent, Reply(missing=missing))
            return Reply(missing=missing)
        outcomes = [self._outcome(operation) for operation in operations]
        self.ledger[message.id] = (sent, outcomes)
        return Reply(outcomes=outcomes)

    def _take_bytes(self, operations: Sequence[WriteOperation | None]) -> Iterator[str]:
        """Keep what came with the message; the hashes of what is announced but not there."""
        for operation in operations:
            if not isinstance(operation, SaveArtifact):
                continue
            if operation.data is not None:
                self.blobs[hashlib.sha256(operation.data).hexdigest()] = operation.data
            elif operation.blob is not None:
                found = self.blobs.get(operation.blob.sha256)
                if found is None or len(found) != operation.blob.size:
                    yield operation.blob.sha256

    def _outcome(self, operation: WriteOperation | None) -> Outcome:
        try:
            return {"ok": self._result(operation)}
        except Refused as refused:
            return {"error": refused.args[0]}

    def _result(self, operation: WriteOperation | None) -> Json:
        match operation:
            case CreateSession(key=key, state=state):
                return self._create(key, parsed(state))
            case AppendEvents(key=key, events=events, expected_revision=expected):
                return self._append(key, [json.loads(bytes(raw)) for raw in events], expected)
            case UpdateState(key=key, delta=delta, delete=delete):
                session = self._session(key)
                self._change_state(key, session, parsed(delta), delete)
                return {"revision": session.revision}
            case DeleteSession(key=key):
                count = len(self._session(key).events)
                del self.sessions[key]
                return {"events": count}
            case SaveArtifact():
                return self._save(operation)
            case DeleteArtifact(key=artifact, version=version):
                return self._delete(artifact, version)
        raise Refused("invalid_request")

    def _session(self, key: SessionKey) -> ModelSession:
        if key not in self.sessions:
            raise Refused("not_found")
        return self.sessions[key]

    def _create(self, key: SessionKey, state: dict[str, Json]) -> Json:
        if key in self.sessions:
            raise Refused("already_exists")
        self.sessions[key] = ModelSession(self.calls)
        self._change_state(key, self.sessions[key], state, [])
        return {"key": msgspec.to_builtins(key)}

    def _append(self, key: SessionKey, events: list[dict[str, Json]], expected: int | None) -> Json:
        session = self._session(key)
        whole = [event for event in events if not event.get("partial")]
        new: list[dict[str, Json]] = []
        answers = []
        for event in whole:
            ids = [one["id"] for one in session.events + new]
            if event["id"] in ids:
                seq = ids.index(event["id"]) + 1
                answers.append({"id": event["id"], "seq": seq, "duplicate": True})
            else:
                new.append(event)
                answers.append({"id": event["id"], "seq": len(ids) + 1})
        # A repetition of what is there already is no attempt to change anything.
        only_repeats = bool(answers) and not new
        if expected is not None and expected != session.revision and not only_repeats:
            raise Refused("conflict")
        if new:
            session.revision += 1
        for event in new:
            session.events.append(without_temporary(event))
            delta, delete = event.get("state_delta", {}), event.get("state_delete", [])
            self._change_state(key, session, delta, delete)
        return {"revision": session.revision, "events": answers}

    def _change_state(
        self, key: SessionKey, session: ModelSession, delta: dict[str, Json], delete: list[str]
    ) -> None:
        for name, value in delta.items():
            place, bare = self._state_of(key, session, name)
            place[bare] = value
        for name in delete:
            place, bare = self._state_of(key, session, name)
            place.pop(bare, None)

    def _state_of(
        self, key: SessionKey, session: ModelSession, name: str
    ) -> tuple[dict[str, Json], str]:
        scope, colon, bare = name.partition(":")
        match scope + colon:
            case "app:":
                return self.app_state.setdefault(key.app, {}), bare
            case "user:":
                return self.user_state.setdefault((key.app, key.user), {}), bare
            case "temp:":
                return {}, bare
        return session.state, name

    def _save(self, save: SaveArtifact) -> Json:
        data = save.data
        if data is None:
            assert save.blob is not None
            data = self.blobs[save.blob.sha256]
        artifact = self.artifacts.setdefault(place_of(save.key), ModelArtifact())
        artifact.last += 1
        version = ModelVersion(data, save.mime_type, parsed(save.metadata))
        artifact.versions[artifact.last] = version
        return {"version": artifact.last, "size": len(data), "sha256": version.sha256}

    def _delete(self, key: ArtifactKey, version: int | None) -> Json:
        versions = self.artifacts.get(place_of(key), ModelArtifact()).versions
        gone = [number for number in sorted(versions) if version in (None, number)]
        if not gone:
            raise Refused("not_found")
        for number in gone:
            del versions[number]
        return {"versions": gone}

    # Reading

    def state(self, key: SessionKey) -> dict[str, Json]:
        """The merged view of a session's state."""
        apps = self.app_state.get(key.app, {})
        users = self.user_state.get((key.app, key.user), {})
        return (
            {f"app:{name}": value for name, value in apps.items()}
            | {f"user:{name}": value for name, value in users.items()}
            | self.sessions[key].state
        )

    def artifact_names(self, key: SessionKey) -> list[str]:
        """The names that a session sees: its own and its user's, in the order of their bytes."""
        names = [
            place[3]
            for place, artifact in self.artifacts.items()
            if place[:2] == (key.app, key.user)
            and place[2] in (key.session, None)
            and artifact.versions
        ]
        return sorted(names, key=str.encode)

    def versions(self, key: ArtifactKey) -> dict[int, ModelVersion]:
        """The versions of an artifact by their number, oldest first."""
        found = self.artifacts.get(place_of(key), ModelArtifact()).versions
        return {number: found[number] for number in sorted(found)}


def parsed(values: dict[str, msgspec.Raw]) -> dict[str, Json]:
    """JSON values, parsed."""
    return {name: json.loads(bytes(raw)) for name, raw in values.items()}


def place_of(key: ArtifactKey) -> Place:
    """Where an artifact is."""
    return (key.app, key.user, None if key.name.startswith("user:") else key.session, key.name)


def without_temporary(event: dict[str, Json]) -> dict[str, Json]:
    """An event as it is stored."""
    kept = dict(event)
    for name in ("state_delta", "state_delete"):
        kept[name] = [key for key in event.get(name, []) if not key.startswith("temp:")]
    kept["state_delta"] = {key: event["state_delta"][key] for key in kept["state_delta"]}
    return kept
