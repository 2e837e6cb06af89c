"""Transactions that SQLite passes over in silence, because the log beside the file is damaged."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Entry
from api_client.outbox.journal import FileJournal

COUNT = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """What a killed client leaves: an outbox whose operations are all in the log, one in each
    transaction, of which a former use of the log has left more behind them."""
    path = tmp_path / "outbox.db"
    journal = FileJournal(path)
    for n in range(1, 3 * COUNT):
        journal.commit(Changes(added=[operation(n)], dropped=[operation(n - 1)]))
    journal._connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for n in range(3 * COUNT, 4 * COUNT):
        journal.commit(Changes(added=[operation(n)]))
    left = {p: p.read_bytes() for p in (path, log_of(path))}
    journal.close()
    for file, content in left.items():
        file.write_bytes(content)
    return path


def operation(number: int) -> Entry:
    return Entry(number, frozenset(), b"operation %04d" % number)


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def place_of(path: Path, number: int) -> int:
    """Where in the log an operation was written first."""
    return log_of(path).read_bytes().index(operation(number).body)


def flip(path: Path, place: int) -> None:
    content = bytearray(log_of(path).read_bytes())
    content[place] ^= 1
    log_of(path).write_bytes(content)


def test_a_whole_log_is_taken(path: Path) -> None:
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == COUNT + 1


@pytest.mark.parametrize("number", [3 * COUNT, 4 * COUNT - 2])
def test_a_changed_bit_before_the_end_is_noticed(path: Path, number: int) -> None:
    flip(path, place_of(path, number))
    content = log_of(path).read_bytes()
    lost = 4 * COUNT - number
    with pytest.raises(Unavailable, match=f"{lost} transactions in its log cannot be read"):
        FileJournal(path)
    (moved,) = path.parent.glob("*.damaged-*-wal")
    assert moved.read_bytes() == content


@pytest.mark.parametrize("place", [0, 10, 17, 30])
def test_a_changed_bit_of_the_header_is_noticed(path: Path, place: int) -> None:
    flip(path, place)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)


def test_the_last_transaction_may_be_what_a_power_failure_has_left(path: Path) -> None:
    flip(path, place_of(path, 4 * COUNT - 1))
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == COUNT


@pytest.mark.parametrize("size", [0, 20, 32, 40])
def test_a_log_that_was_only_begun_is_none(path: Path, size: int) -> None:
    log_of(path).write_bytes(log_of(path).read_bytes()[:size])
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == 1
