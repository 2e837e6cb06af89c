"""An outbox of the first release, whose operations named their messages, goes on."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from api_client.contract.codec import encode_message
from api_client.contract.errors import Unavailable
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Entry
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.status import OutboxStatus, status_of
from tests.support.driven import NOON, DrivenLoop, FakeWorker, delete, message_id

FORMAT_1 = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    message_id TEXT,
    added_at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX operations_by_message ON operations (message_id) WHERE message_id IS NOT NULL;
PRAGMA user_version = 1;
COMMIT;
"""
FIRST, SECOND = (message_id(NOON - 60, number) for number in (1, 2))
#: By row, the message that each operation is in.
OPERATIONS = {1: FIRST, 2: SECOND, 3: None, 4: FIRST, 5: None, 12: SECOND}


def body_of(row: int) -> bytes:
    return delete(f"s{row}")


@pytest.fixture
def path(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1)
        bodies = {row: body_of(row) for row in OPERATIONS}
        with connection:
            connection.executemany(
                "INSERT INTO operations VALUES (?, ?, ?, ?, ?)",
                [
                    (row, message, NOON, zlib.crc32(bodies[row], row), bodies[row])
                    for row, message in OPERATIONS.items()
                ],
            )
    return path


@pytest.fixture
def journal(path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(path)
    yield opened
    opened.close()


def format_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def status(path: Path) -> OutboxStatus:
    return status_of(path, lambda: NOON)


def test_it_holds_what_it_held(path: Path) -> None:
    for _ in range(2):
        with closing(FileJournal(path)) as journal:
            found = journal.found
            assert (found.operations, found.waiting, found.last) == (6, 2, 12)
            assert found.bytes == sum(len(body_of(row)) for row in OPERATIONS)
            assert [(op.message_id, op.id, op.body) for op in journal.packed()] == [
                (message, row, body_of(row))
                for message, row in ((FIRST, 1), (FIRST, 4), (SECOND, 2), (SECOND, 12))
            ]
            assert [op.id for op in journal.waiting(0, 10, 10_000)] == [3, 5]
        assert format_of(path) == 2


def test_its_messages_are_sent_again_as_they_were(
    path: Path, worker: FakeWorker, loop: DrivenLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, bytes] = {}
    take = worker.send_message

    def noted(message: str, body: bytes, traces: Sequence[str]) -> None:
        sent[message] = body
        take(message, body, traces)

    monkeypatch.setattr(worker, "send_message", noted)
    worker.up = True
    outbox = Outbox(open_homes(path, lambda: NOON), worker, OutboxOptions(), loop)
    loop.settle()
    assert outbox.pending == 0
    outbox.close(0)
    for message, rows in ((FIRST, (1, 4)), (SECOND, (2, 12))):
        assert sent[message] == encode_message(message, map(body_of, rows))
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == 0


def test_it_no_longer_pays_for_the_index_of_its_messages(journal: FileJournal, path: Path) -> None:
    assert journal.found.operations == 6
    with closing(sqlite3.connect(path)) as connection:
        indexes = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
        assert "operations_by_message" not in {name for (name,) in indexes}


def test_new_operations_find_their_place_in_it(journal: FileJournal) -> None:
    journal.commit(Changes(added=[Entry(13, frozenset(), body_of(13))]))
    assert [op.id for op in journal.waiting(0, 10, 10_000)] == [3, 5, 13]


def test_to_look_at_it_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    found = status(path)
    assert (found.waiting, found.on_way, found.messages, found.expired) == (2, 4, 2, 0)
    assert found.problem is None
    assert path.read_bytes() == before
    FileJournal(path).close()
    assert status(path) == found


def test_it_is_brought_to_the_new_format_whole_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(connection: sqlite3.Connection, _: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr("api_client.outbox.tables.add_messages", refusing)
        with pytest.raises(Unavailable, match="left as it is"):
            FileJournal(path)
    assert format_of(path) == 1
    with closing(FileJournal(path)) as journal:
        assert len([*journal.packed()]) == 4


@pytest.mark.parametrize("searched", [body_of(3), FIRST.encode()])
def test_damage_is_found(path: Path, searched: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(searched)] ^= 1
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)
    (moved,) = path.parent.glob("*.damaged-*Z")
    assert moved.read_bytes() == content
