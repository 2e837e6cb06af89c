"""How often PostgreSQL is asked, counted in its own log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client.contract import codec
from api_client.contract.events import encode_event
from api_client.contract.keys import SessionKey
from api_client.contract.operations import AppendEvents, CreateSession, LoadSession, WriteOperation
from api_client.contract.records import Event, new_id
from tests.support.postgres import PostgresServer
from worker.artifacts.blobs import MemoryBlobStore
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

KEY = SessionKey("app", "user", "session")


class Logged:
    """A storage object over a PostgreSQL that logs each statement."""

    def __init__(self, storage: Storage, log: Path):
        self.storage = storage
        self._log = log
        self._seen = 0

    def statements(self) -> list[str]:
        """Those since the last look."""
        lines = self._log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return [line.partition("statement: ")[2] for line in new if "statement: " in line]

    def apply(self, *operations: WriteOperation) -> None:
        message = codec.encode_message(new_id(), map(codec.encode_operation, operations))
        (reply,) = self.storage.apply([codec.decode_message(message)], first=True)
        assert [outcome.error for outcome in reply.outcomes] == [None] * len(operations)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    with PostgresServer(tmp_path, fsync=False, settings={"log_statement": "all"}) as postgres:
        database = Database(DatabaseOptions(postgres.create_database("counted")))
        upgrade(database)
        found = Logged(Storage(database, MemoryBlobStore()), tmp_path / "postgres.log")
        found.apply(CreateSession(key=KEY))
        found.statements()
        yield found
        found.storage.close()


def append(count: int) -> AppendEvents:
    events = [encode_event(Event(author="a", state_delta={"n": number})) for number in range(count)]
    return AppendEvents(key=KEY, events=events)


def test_a_load_is_one_statement(logged: Logged) -> None:
    logged.apply(append(3))
    # The first one may open a connection.
    logged.storage.query(LoadSession(key=KEY))
    logged.statements()
    for _ in range(2):
        assert logged.storage.query(LoadSession(key=KEY)).error is None
    first, second = logged.statements()
    # It was prepared by the first one.
    assert first.startswith("EXECUTE")
    assert second.startswith("EXECUTE")


@pytest.mark.parametrize("events", [1, 4, 5, 500])
def test_a_message_takes_as_many_however_many_events_it_has(logged: Logged, events: int) -> None:
    logged.apply(append(events))
    kinds = [statement.split()[0] for statement in logged.statements()]
    # Lock; session and events; state and ledger. A few events go with the rest.
    written = ["INSERT"] if events < 5 else ["INSERT", "COPY", "INSERT"]
    assert kinds == ["BEGIN", "SELECT", *written, "COMMIT"]
