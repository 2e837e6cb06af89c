"""Recorded payloads of version 1 stay readable, value for value.

The files under tests/wire/v1 were written by the first release and are never edited. A later
version of the wire adds a folder; this one is read for as long as the version is readable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.errors import ErrorRecord, InvalidRequest
from api_client.contract.events import decode_event
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.limits import GIB
from api_client.contract.operations import (
    AppendEvents,
    BlobReference,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    DiscardDeadLetter,
    FindBlobs,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    LoadSharedState,
    MessageStatus,
    PutPart,
    Query,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.outcomes import (
    AppendedEvent,
    ArtifactDeleted,
    ArtifactSaved,
    BlobsFound,
    EventsAppended,
    MessageState,
    MissingBlob,
    Outcome,
    PartPut,
    QueryReply,
    SessionCreated,
    SessionDeleted,
    SessionReply,
    StateUpdated,
    WriteReply,
)
from api_client.contract.records import (
    Artifact,
    ArtifactVersion,
    Page,
    SessionSummary,
)

FOLDER = Path(__file__).parents[1] / "wire" / "v1"

ANNA = SessionKey("shop", "anna", "session-1")
BERT = SessionKey("shop", "bert", "sitzung-2")
REPORT = ArtifactKey("shop", "anna", "session-1", "reports/März.pdf")
PHOTO = ArtifactKey("shop", "anna", "session-1", "user:photo.png")
ID = "0192f3a4-5b6c-7d8e-9fa0-0000000000%s"
NOON = datetime(2026, 11, 5, 9, 30, 15, 123456, timezone.utc)
STORED = datetime(2026, 11, 22, 22, 6, 28, 538000, timezone.utc)
DATA = b"%PDF-1.7 \x00\xff"
DATA_HASH = "416db49ca18f9ab83e462b54055483eb2a84ca80e3941df455e4746abb54864a"
STAGED_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CONTENT = {"text": "hi \x00 \U0001f600", "n": 2**80, "z": 1.0, "a": [None, True]}


def recorded(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def values(raw: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: json.loads(bytes(value)) for name, value in raw.items()}


def message(name: str, number: str) -> list[WriteOperation]:
    decoded = codec.decode_message(recorded(f"message-{name}"))
    assert decoded.id == ID % number
    assert decoded.version == 1
    return [codec.decode_operation(raw) for raw in decoded.operations]


def ok(reply: QueryReply | Outcome, kind: Any) -> Any:
    assert reply.error is None
    return codec.decode(reply.ok, kind)


def query_reply(name: str, kind: Any) -> Any:
    return ok(codec.decode(recorded(f"query-reply-{name}"), QueryReply), kind)


class TestMessages:
    def test_create(self) -> None:
        (operation,) = message("session-create", "01")
        assert isinstance(operation, CreateSession)
        assert operation.key == ANNA
        assert values(operation.state) == {
            "lang": "en",
            "user:tier": "pro",
            "app:max": 12345678901234567890,
        }

    def test_append(self) -> None:
        (operation,) = message("session-append", "02")
        assert isinstance(operation, AppendEvents)
        assert (operation.key, operation.expected_revision) == (ANNA, 0)
        full, bare = map(decode_event, operation.events)

        assert full.id == "0192f3a4-0000-7000-8000-00000000e001"
        assert (full.author, full.invocation_id, full.partial) == ("agent", "run-7", False)
        assert full.timestamp == NOON
        assert json.loads(bytes(full.content)) == CONTENT
        assert values(full.state_delta) == {
            "step": 1,
            "app:theme": {"dark": True},
            "user:tier": None,
        }
        assert full.state_delete == ["draft", "user:old"]

        assert (bare.id, bare.author, bare.invocation_id) == ("e-2", "user", None)
        assert bare.timestamp == datetime(2026, 11, 5, 9, 30, tzinfo=timezone.utc)
        assert bare.timestamp.utcoffset() == timedelta(hours=1)
        assert bytes(bare.content) == b"null"
        assert (bare.state_delta, bare.state_delete) == ({}, [])

    def test_update_state(self) -> None:
        (operation,) = message("session-update-state", "03")
        assert isinstance(operation, UpdateState)
        assert operation.key == ANNA
        assert values(operation.delta) == {"step": 2, "nothing": None}
        assert operation.delete == ["lang", "app:max"]

    def test_delete(self) -> None:
        assert message("session-delete", "04") == [DeleteSession(key=ANNA)]

    def test_discard_of_a_dead_letter(self) -> None:
        failed = "0192f3a4-5b6c-7d8e-9fa0-000000000004"
        discard = DiscardDeadLetter(message_id=failed, position=0)
        assert message("dead-letter-discard", "08") == [discard]

    def test_save_with_inline_bytes(self) -> None:
        (operation,) = message("artifact-save-inline", "05")
        assert isinstance(operation, SaveArtifact)
        assert (operation.key, operation.mime_type) == (REPORT, "application/pdf")
        assert (operation.data, operation.blob) == (DATA, None)
        assert values(operation.metadata) == {"pages": 3, "tags": ["a", "b"]}

    def test_save_with_staged_bytes(self) -> None:
        (operation,) = message("artifact-save-staged", "06")
        assert operation == SaveArtifact(
            key=PHOTO, mime_type="image/png", blob=BlobReference(STAGED_HASH, 5 * 1024**3)
        )

    def test_delete_of_a_version(self) -> None:
        assert message("artifact-delete", "07") == [DeleteArtifact(key=REPORT, version=2)]

    def test_a_batch_with_an_operation_nobody_knows(self) -> None:
        decoded = codec.decode_message(recorded("message-batch"))
        first, unknown, last = decoded.operations
        assert codec.decode_operation(first) == DeleteArtifact(key=REPORT)
        assert codec.decode_operation(last) == CreateSession(key=BERT)
        with pytest.raises(InvalidRequest, match=r"session\.fork"):
            codec.decode_operation(unknown)

    def test_a_task_body(self) -> None:
        args, kwargs, embed = codec.decode_body(recorded("body-write"))
        (raw,) = codec.decode_message(args[0]).operations
        assert codec.decode_operation(raw) == DeleteSession(key=ANNA)
        assert kwargs == {}
        assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


SMALL_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LARGE_HASH = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
QUERIES: dict[str, Query] = {
    "session-load": LoadSession(key=ANNA, last=20, after_seq=3, before_seq=90, after_time=NOON),
    "session-load-state": LoadSession(key=ANNA, events=False),
    "session-list": ListSessions(
        app="shop", user="anna", order="oldest", limit=50, cursor="bmV3ZXN0OjU=", state=True
    ),
    "state-load": LoadSharedState(app="shop", user="anna"),
    "artifact-load": LoadArtifact(key=REPORT, version=2, start=1024, length=4096),
    "artifact-list": ListArtifacts(key=ANNA, limit=50, cursor="cg=="),
    "artifact-versions": ListVersions(key=REPORT, limit=50, cursor="Mg=="),
    "status": MessageStatus(message_ids=[ID % "01", ID % "02"]),
    "blob-find": FindBlobs(blobs=[BlobReference(SMALL_HASH, 4), BlobReference(LARGE_HASH, GIB)]),
    "blob-put-part": PutPart(
        blob=BlobReference(LARGE_HASH, GIB),
        index=127,
        part=BlobReference(SMALL_HASH, 8 * 1024**2),
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_queries(name: str) -> None:
    assert codec.decode_query(recorded(f"query-{name}")) == QUERIES[name]


class TestWriteReplies:
    def test_outcomes_of_every_kind(self) -> None:
        reply = codec.decode(recorded("write-reply-outcomes"), WriteReply)
        assert (reply.missing, reply.error, reply.version) == ([], None, 1)
        check_outcomes(reply.outcomes)

    def test_missing_bytes(self) -> None:
        reply = codec.decode(recorded("write-reply-missing"), WriteReply)
        assert reply == WriteReply(missing=[STAGED_HASH])

    def test_a_refused_message(self) -> None:
        reply = codec.decode(recorded("write-reply-error"), WriteReply)
        assert reply == WriteReply(
            error=ErrorRecord(
                "conflict", "this message id was used before with different operations", "id"
            )
        )


def check_outcomes(outcomes: list[Outcome]) -> None:
    kinds: list[tuple[Any, Any]] = [
        (SessionCreated, SessionCreated(ANNA, STORED)),
        ("already_exists", "key"),
        (
            EventsAppended,
            EventsAppended(
                1,
                [
                    AppendedEvent("0192f3a4-0000-7000-8000-00000000e001", 1),
                    AppendedEvent("e-2", 2),
                ],
            ),
        ),
        (EventsAppended, EventsAppended(1, [AppendedEvent("e-2", 2, duplicate=True)])),
        ("conflict", "expected_revision"),
        (StateUpdated, StateUpdated(1)),
        (SessionCreated, SessionCreated(BERT, STORED)),
        (SessionDeleted, SessionDeleted(0)),
        (ArtifactSaved, ArtifactSaved(1, len(DATA), DATA_HASH)),
        ("not_found", "key"),
        (ArtifactSaved, ArtifactSaved(2, len(DATA), DATA_HASH)),
        (ArtifactDeleted, ArtifactDeleted([2])),
    ]
    for outcome, (kind, expected) in zip(outcomes, kinds, strict=True):
        if isinstance(kind, str):
            assert outcome.error is not None
            assert (outcome.error.code, outcome.error.field) == (kind, expected)
        else:
            assert ok(outcome, kind) == expected


class TestQueryReplies:
    def test_a_session(self) -> None:
        reply = query_reply("session", SessionReply)
        assert (reply.key, reply.revision, reply.more) == (ANNA, 1, False)
        assert (reply.created_at, reply.updated_at) == (STORED, STORED)
        assert reply.state == {
            "app:theme": {"dark": True},
            "user:tier": None,
            "nothing": None,
            "step": 2,
        }
        full, bare = reply.events
        assert (full.seq, full.author, full.content) == (1, "agent", CONTENT)
        assert full.timestamp == NOON
        assert full.state_delete == ["draft", "user:old"]
        assert (bare.seq, bare.id, bare.content) == (2, "e-2", None)

    def test_a_page_of_sessions(self) -> None:
        page = query_reply("session-page", Page[SessionSummary])
        assert page.next_cursor is None
        (summary,) = page
        assert (summary.key, summary.revision) == (ANNA, 1)
        assert (summary.created_at, summary.updated_at) == (STORED, STORED)
        assert summary.state["app:theme"] == {"dark": True}

    def test_shared_state(self) -> None:
        state = query_reply("state", dict[str, Any])
        assert state == {"app:theme": {"dark": True}, "user:tier": None}

    def test_an_artifact(self) -> None:
        artifact = query_reply("artifact", Artifact)
        assert artifact.data == DATA[2:8]
        assert (artifact.name, artifact.version, artifact.size) == (REPORT.name, 1, len(DATA))
        assert (artifact.mime_type, artifact.sha256) == ("application/pdf", DATA_HASH)
        assert artifact.metadata == {"pages": 3, "tags": ["a", "b"]}
        assert artifact.created_at == STORED

    def test_a_page_of_versions(self) -> None:
        (version,) = query_reply("version-page", Page[ArtifactVersion])
        assert (version.name, version.version, version.created_at) == (REPORT.name, 1, STORED)
        assert version.metadata == {"pages": 3, "tags": ["a", "b"]}

    def test_the_status_of_messages(self) -> None:
        known, unknown = query_reply("status", list[MessageState])
        assert (known.message_id, known.applied) == ("0192f3a4-5b6c-7d8e-9fa0-000000000101", True)
        check_outcomes(known.outcomes)
        assert unknown == MessageState("0192f3a4-5b6c-7d8e-9fa0-0000000001ff", False, [])

    def test_blobs_that_are_missing(self) -> None:
        found = query_reply("blobs", BlobsFound)
        assert found.missing == [
            MissingBlob(SMALL_HASH, []),
            MissingBlob(LARGE_HASH, [0, 1, 126]),
        ]

    def test_a_part(self) -> None:
        assert query_reply("part", PartPut) == PartPut(stored=True)

    def test_an_error(self) -> None:
        reply = codec.decode(recorded("query-reply-error"), QueryReply)
        assert reply.error == ErrorRecord(
            "not_found", "there is no session 'sitzung-2' of user 'bert' in app 'shop'", "key"
        )
        assert bytes(reply.ok) == b""


class TestTheRecordingsThemselves:
    def names(self, prefix: str) -> list[str]:
        return [path.stem for path in FOLDER.glob(f"{prefix}*.json")]

    def tags(self, union: Any) -> set[str]:
        return {str(kind.__struct_config__.tag) for kind in get_args(union)}

    @pytest.mark.parametrize(
        ("prefix", "union", "member"),
        [("message-", WriteOperation, "operations"), ("query-", Query, "query")],
    )
    def test_there_is_one_of_every_operation(self, prefix: str, union: Any, member: str) -> None:
        found: set[str] = set()
        for name in self.names(prefix):
            held = json.loads(recorded(name)).get(member, [])
            found |= {one["op"] for one in (held if isinstance(held, list) else [held])}
        assert found - {"session.fork"} == self.tags(union)

    @pytest.mark.parametrize(
        ("prefix", "decode"),
        [
            ("message-", codec.decode_message),
            ("body-", codec.decode_body),
            ("write-reply-", lambda raw: codec.decode(raw, WriteReply)),
            ("query-reply-", lambda raw: codec.decode(raw, QueryReply)),
        ],
    )
    def test_every_file_is_readable(self, prefix: str, decode: Callable[[bytes], object]) -> None:
        names = self.names(prefix)
        assert names
        for name in names:
            decode(recorded(name))
