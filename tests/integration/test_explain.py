"""PostgreSQL can answer every statement of the stores by an index."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event

from api_client.contract import codec
from api_client.contract.events import encode_event
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    LoadSharedState,
    MessageStatus,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.records import Event, new_id
from tests.support.postgres import PostgresServer
from worker.artifacts.blobs import MemoryBlobStore
from worker.artifacts.references import Scope, total, versions_of
from worker.artifacts.sweep import sweep_blobs
from worker.artifacts.verify import Verification
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

KEY = SessionKey("app", "user", "session")
REPORT = ArtifactKey("app", "user", "session", "report")
REPORT_SHA256 = hashlib.sha256(b"bytes").hexdigest()
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Database]:
    opened = Database(DatabaseOptions(postgres.create_database("explain")))
    upgrade(opened)
    yield opened
    opened.close()


def apply(storage: Storage, *operations: WriteOperation) -> None:
    message = codec.encode_message(new_id(), map(codec.encode_operation, operations))
    (reply,) = storage.apply([codec.decode_message(message)])
    assert all(outcome.error is None for outcome in reply.outcomes), reply


def exercise(database: Database) -> None:
    """Every operation, every query, the verification and the sweep."""
    storage = Storage(database, MemoryBlobStore())
    one, null = msgspec.Raw(b"1"), msgspec.Raw(b"null")
    state = {"own": one, "user:tier": one, "app:theme": null}
    append = AppendEvents(key=KEY, events=[encode_event(Event(author="a", id="e"))])
    apply(storage, CreateSession(key=KEY, state=state), append)
    apply(storage, append)
    apply(storage, UpdateState(key=KEY, delta={"new": one}, delete=[*state]))
    for _ in range(2):
        apply(storage, SaveArtifact(key=REPORT, mime_type="text/plain", data=b"bytes"))
    for query in (
        LoadSession(key=KEY),
        LoadSession(key=KEY, last=20),
        LoadSession(key=KEY, after_seq=1),
        LoadSession(key=KEY, after_time=LONG_AGO),
        LoadSession(key=KEY, before_seq=100),
        ListSessions(app="app", limit=1),
        ListSessions(app="app", user="user", order="oldest", state=True),
        LoadSharedState(app="app", user="user"),
        ListArtifacts(key=KEY),
        ListVersions(key=REPORT),
        LoadArtifact(key=REPORT),
        LoadArtifact(key=REPORT, version=1),
        MessageStatus(message_ids=[new_id()]),
    ):
        assert storage.query(query).error is None
    for scope in (Scope(), Scope(app="app"), Scope("app", "user", "session")):
        total(database, scope)
        assert list(versions_of(database, scope, REPORT_SHA256))
        assert list(Verification(database, storage.blobs, scope).run()) == []
    apply(storage, DeleteArtifact(key=REPORT, version=1), DeleteArtifact(key=REPORT))
    apply(storage, DeleteSession(key=KEY))
    assert sweep_blobs(database, storage.blobs, grace=-1.0).removed == 1


def test_every_statement_is_answered_by_an_index(database: Database) -> None:
    seen: dict[str, Any] = {}

    prepared: dict[str, None] = {}

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if re.match(r"\s*(SELECT|DELETE|UPDATE|WITH|EXECUTE)", statement):
            seen.setdefault(statement, parameters)
        elif statement.startswith("PREPARE"):
            prepared[statement] = None

    event.listen(Engine, "before_cursor_execute", note)
    try:
        exercise(database)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert len(seen) > 20
    scans = {}
    with database.write.begin() as connection:
        # With this the planner scans a table only where no index can help, however small it is.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for statement in prepared:
            if statement.split()[1] not in connection.info:
                connection.exec_driver_sql(statement, ())
        assert len(prepared) == sum(statement.startswith("EXECUTE") for statement in seen) == 2
        for statement, parameters in seen.items():
            own = parameters[0] if isinstance(parameters, list) else parameters
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", own).all()
            plan = "\n".join(row[0] for row in rows)
            if "Seq Scan" in plan:
                scans[statement] = plan
    assert scans == {}
