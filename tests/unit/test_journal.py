"""The outbox in a file: what was committed survives, and one client at a time has the file."""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.events import encode_event
from api_client.contract.keys import SessionKey
from api_client.contract.limits import MAX_JSON_DEPTH
from api_client.contract.operations import AppendEvents, DeleteSession
from api_client.contract.outcomes import Outcome, WriteReply
from api_client.contract.records import Event, new_id
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import Home, open_homes
from api_client.outbox.journal import FileJournal, MemoryJournal, StoredOperation
from api_client.outbox.locks import in_use
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.restore import read_entry
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply

PATIENCE = 20.0
KEY = SessionKey("app", "user", "session")
DELETE = codec.encode_operation(DeleteSession(key=KEY))

# A client that opens an outbox, forks a child that lives on, and tells when both are there.
FORKING_CLIENT = """
import os, sys
from pathlib import Path
from api_client.outbox.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
if os.fork() == 0:
    os.write(1, b"child")
    os.read(0, 1)
else:
    os.wait()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def journal(path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(path)
    yield opened
    opened.close()


def entry(number: int, body: bytes = b"{}") -> Entry:
    return Entry(number, frozenset({("session", "app", "user", "s")}), body)


def found_in(path: Path) -> Sequence[StoredOperation]:
    with closing(FileJournal(path)) as opened:
        return operations_in(opened)


def operations_in(journal: FileJournal) -> Sequence[StoredOperation]:
    everything = [*journal.packed(), *journal.waiting(0, 1000, 1 << 30)]
    return sorted(everything, key=lambda stored: stored.id)


def copied(path: Path, folder: Path) -> Path:
    """What a killed client leaves behind: the file and its write-ahead log as they are."""
    folder.mkdir()
    for part in (path, Path(f"{path}-wal")):
        (folder / part.name).write_bytes(part.read_bytes())
    return folder / path.name


def rows_in(path: Path) -> tuple[int, int]:
    """The operations and messages in a file, done or not."""
    with closing(sqlite3.connect(path)) as connection:
        tables = "(SELECT count(*) FROM operations), (SELECT count(*) FROM messages)"
        operations, messages = connection.execute(f"SELECT {tables}").fetchone()
    return operations, messages


class TestWhatLasts:
    def test_a_new_file_is_empty(self, path: Path) -> None:
        assert found_in(path) == []

    def test_operations_survive_in_the_order_of_issue(
        self, journal: FileJournal, path: Path
    ) -> None:
        journal.commit(Changes(added=[entry(2, b"\x00\xff"), entry(1, b'{"n":1}')]))
        journal.close()
        assert found_in(path) == [
            StoredOperation(1, None, b'{"n":1}'),
            StoredOperation(2, None, b"\x00\xff"),
        ]

    def test_an_operation_packed_when_it_is_added_remembers_its_message(
        self, journal: FileJournal, path: Path
    ) -> None:
        first, second = entry(1), entry(2)
        journal.commit(Changes(added=[first, second], packed=[Dispatch("m1", [first])]))
        journal.close()
        assert [(op.id, op.message_id) for op in found_in(path)] == [(1, "m1"), (2, None)]

    def test_an_operation_packed_later_remembers_its_message(
        self, journal: FileJournal, path: Path
    ) -> None:
        first, second = entry(1), entry(2)
        journal.commit(Changes(added=[first, second]))
        journal.commit(Changes(packed=[Dispatch("m1", [first]), Dispatch("m2", [second])]))
        journal.close()
        assert [(op.id, op.message_id) for op in found_in(path)] == [(1, "m1"), (2, "m2")]

    def test_a_confirmed_message_is_forgotten_whole_and_alone(
        self, journal: FileJournal, path: Path
    ) -> None:
        entries = [entry(n) for n in range(1, 5)]
        confirmed, other = Dispatch("m1", entries[:2]), Dispatch("m2", [entries[2]])
        journal.commit(Changes(added=entries, packed=[confirmed, other]))
        journal.commit(Changes(confirmed=[confirmed]))
        left = [(3, "m2"), (4, None)]
        assert [(op.id, op.message_id) for op in operations_in(journal)] == left
        journal.close()
        assert rows_in(path) == (2, 1)
        assert [(op.id, op.message_id) for op in found_in(path)] == left

    def test_messages_come_one_after_the_other_each_in_its_order(
        self, journal: FileJournal
    ) -> None:
        entries = {n: entry(n) for n in range(1, 21)}
        first = [entries[n] for n in (2, 9, 10, 11, 20)]
        second = [entries[n] for n in (1, 3, 12)]
        packed = [Dispatch("m2", second), Dispatch("m1", first)]
        journal.commit(Changes(added=[*entries.values()], packed=packed))
        assert [(op.message_id, op.id) for op in journal.packed()] == [
            *(("m1", n) for n in (2, 9, 10, 11, 20)),
            *(("m2", n) for n in (1, 3, 12)),
        ]

    def test_what_waits_is_read_in_slices(self, journal: FileJournal) -> None:
        entries = [entry(n, b"12345") for n in range(1, 11)]
        packed = [Dispatch("m1", entries[1:3]), Dispatch("m2", [entries[7]])]
        journal.commit(Changes(added=entries, packed=packed))
        journal.commit(Changes(confirmed=packed[:1]))

        def waiting(after: int, operations: int, size: int) -> list[int]:
            return [op.id for op in journal.waiting(after, operations, size)]

        assert waiting(0, 100, 1000) == [1, 4, 5, 6, 7, 9, 10]
        assert waiting(0, 3, 1000) == [1, 4, 5]
        assert waiting(5, 3, 1000) == [6, 7, 9]
        assert waiting(5, 100, 6) == [6, 7]
        assert waiting(10, 100, 1000) == []

    def test_all_of_one_commit_or_none(self, journal: FileJournal, path: Path) -> None:
        first = entry(1)
        journal.commit(Changes(added=[first], packed=[Dispatch("m1", [first])]))
        impossible = Changes(
            added=[entry(2), entry(1)],
            packed=[Dispatch("m2", [first])],
            confirmed=[Dispatch("m1", [first])],
        )
        with pytest.raises(sqlite3.IntegrityError):
            journal.commit(impossible)
        journal.commit(Changes(added=[entry(3)]))
        journal.close()
        assert [(op.id, op.message_id) for op in found_in(path)] == [(1, "m1"), (3, None)]

    def test_a_commit_is_in_the_file_before_it_is_closed(
        self, journal: FileJournal, path: Path, tmp_path: Path
    ) -> None:
        journal.commit(Changes(added=[entry(1)]))
        left = copied(path, tmp_path / "left")
        assert [op.id for op in found_in(left)] == [1]

    def test_what_was_confirmed_stays_so_when_the_client_is_killed(
        self, journal: FileJournal, path: Path, tmp_path: Path
    ) -> None:
        entries = [entry(n, b"123") for n in range(1, 7)]
        confirmed, other = Dispatch("m1", entries[:3]), Dispatch("m2", entries[3:5])
        journal.commit(Changes(added=entries, packed=[confirmed, other]))
        journal.commit(Changes(confirmed=[confirmed]))
        left = copied(path, tmp_path / "left")
        with closing(FileJournal(left)) as opened:
            found = opened.found
            assert (found.operations, found.bytes, found.waiting, found.last) == (3, 9, 1, 6)
            assert [op.id for op in operations_in(opened)] == [4, 5, 6]
            assert not opened.holds(1), "its bytes beside the outbox would stay"

    def test_the_file_is_written_so_that_power_loss_takes_nothing(
        self, journal: FileJournal
    ) -> None:
        def setting(name: str) -> object:
            return journal._connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert journal.durable
        assert setting("journal_mode") == "wal"
        assert setting("synchronous") == 2, "FULL"

    def test_without_a_file_nothing_lasts(self) -> None:
        journal = MemoryJournal()
        journal.commit(Changes(added=[entry(1)]))
        assert not journal.durable
        assert [*journal.packed()] == journal.waiting(0, 1, 1) == []


class TestOneClientAtATime:
    @pytest.mark.usefixtures("journal")
    def test_a_second_one_is_told_which_file_is_in_use(self, path: Path) -> None:
        with pytest.raises(Unavailable, match=r"outbox\.db is in use by another client") as caught:
            FileJournal(path)
        assert caught.value.field == "outbox"

    def test_the_first_one_goes_on_unharmed(self, journal: FileJournal, path: Path) -> None:
        with pytest.raises(Unavailable):
            FileJournal(path)
        journal.commit(Changes(added=[entry(1)]))
        assert [op.id for op in operations_in(journal)] == [1]
        with pytest.raises(Unavailable):
            FileJournal(path)

    def test_closing_lets_the_next_one_in(self, journal: FileJournal, path: Path) -> None:
        journal.close()
        with closing(FileJournal(path)):
            pass

    def test_another_process_is_kept_out_too(self, journal: FileJournal, path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from api_client.outbox.journal import FileJournal\n"
            "FileJournal(Path(sys.argv[1]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, path], stderr=subprocess.PIPE, timeout=60, check=False
        )
        assert other.returncode == 1
        assert b"is in use by another client" in other.stderr

    def test_a_forked_child_does_not_hold_the_file_of_its_dead_parent(self, path: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", FORKING_CLIENT, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as parent:
            assert parent.stdin is not None
            assert parent.stdout is not None
            assert parent.stdout.read(5) == b"child"
            with pytest.raises(Unavailable):
                FileJournal(path)

            parent.send_signal(signal.SIGKILL)
            parent.wait(PATIENCE)
            with closing(FileJournal(path)):
                parent.stdin.write(b"x")


class TestFilesThatCannotBeOpened:
    def test_an_outbox_of_a_later_release_is_refused_and_left_as_it_is(self, path: Path) -> None:
        FileJournal(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version=3")
        before = path.read_bytes()
        with pytest.raises(Unavailable, match=r"later release \(format 3\)") as caught:
            FileJournal(path)
        assert caught.value.field == "outbox"
        assert path.read_bytes() == before

    def test_a_database_of_somebody_elses_is_refused_and_left_as_it_is(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        before = path.read_bytes()
        with pytest.raises(Unavailable, match="not an outbox"):
            FileJournal(path)
        assert path.read_bytes() == before

    def test_after_a_failure_the_file_is_not_locked(self, path: Path) -> None:
        path.mkdir()
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be opened"):
                FileJournal(path)
        assert not in_use(path)

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="cannot be opened"):
            FileJournal(tmp_path / "missing" / "outbox.db")

    def test_to_look_whether_one_is_in_use_makes_nothing(self, tmp_path: Path) -> None:
        assert not in_use(tmp_path / "outbox.db")
        assert list(tmp_path.iterdir()) == []


class TestDisk:
    """A drained outbox gives the disk back."""

    COUNT = 30_000

    @pytest.fixture
    def drained(self, journal: FileJournal) -> FileJournal:
        """An outbox that was large, and now holds one operation."""
        entries = [entry(n, b"x" * 900) for n in range(1, self.COUNT)]
        done = Dispatch("m1", entries)
        journal.commit(Changes(added=entries, packed=[done]))
        journal.commit(Changes(added=[entry(self.COUNT)], confirmed=[done]))
        return journal

    def test_idle_steps_give_back_all_but_a_little(self, drained: FileJournal, path: Path) -> None:
        steps = 1
        while drained.tidy():
            steps += 1
        assert steps > 3, "one step is short"
        drained.close()
        assert path.stat().st_size < 5_000_000
        assert [op.id for op in found_in(path)] == [self.COUNT]

    def test_closing_an_empty_one_leaves_next_to_nothing(
        self, drained: FileJournal, path: Path
    ) -> None:
        drained.commit(Changes(dropped=[entry(self.COUNT)]))
        drained.close()
        assert path.stat().st_size < 50_000
        assert not Path(f"{path}-wal").exists()

    def test_the_log_beside_it_becomes_small(self, drained: FileJournal, path: Path) -> None:
        log = Path(f"{path}-wal")
        assert log.stat().st_size > 10_000_000
        # The second writer after a checkpoint begins the log anew.
        drained.commit(Changes(added=[entry(1)]))
        drained.commit(Changes(added=[entry(2)]))
        assert log.stat().st_size < 5_000_000

    def test_what_is_confirmed_goes_when_there_is_nothing_else_to_do(
        self, journal: FileJournal, path: Path
    ) -> None:
        done = Dispatch("m1", [entry(1)])
        journal.commit(Changes(added=[*done.entries, entry(2)], packed=[done]))
        journal.commit(Changes(confirmed=[done]))
        assert rows_in(path) == (2, 1)
        assert not journal.tidy()
        assert rows_in(path) == (1, 0)

    @pytest.mark.parametrize(("count", "size"), [(500, 2), (5, 200_000)])
    def test_what_is_confirmed_does_not_gather_without_end(
        self, journal: FileJournal, path: Path, count: int, size: int
    ) -> None:
        held = []
        for number in range(20):
            rows = range(number * count + 1, (number + 1) * count + 1)
            done = Dispatch(f"m{number}", [entry(row, b"x" * size) for row in rows])
            journal.commit(Changes(added=done.entries, packed=[done]))
            journal.commit(Changes(confirmed=[done]))
            operations, messages = rows_in(path)
            assert operations == messages * count
            held.append(messages)
        again = held[held.index(0) :]
        assert 1 < max(again) <= max(held) < 10

    def test_what_could_not_be_removed_is_removed_the_next_time(
        self, journal: FileJournal, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refusing(_: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        done = Dispatch("m1", [entry(n) for n in range(1, 5001)])
        journal.commit(Changes(added=done.entries, packed=[done]))
        with monkeypatch.context() as full:
            full.setattr("api_client.outbox.journal.remove_confirmed", refusing)
            with pytest.raises(sqlite3.OperationalError):
                journal.commit(Changes(confirmed=[done]))
        assert len([*journal.packed()]) == 5000
        journal.commit(Changes(confirmed=[done]))
        assert rows_in(path) == (0, 0)

    def test_a_small_outbox_is_let_be(self, journal: FileJournal) -> None:
        journal.commit(Changes(added=[entry(1)]))
        assert not journal.tidy()


class TestPrivacy:
    def test_nobody_else_can_read_what_waits(self, tmp_path: Path) -> None:
        # Given a process whose files are readable by all unless it says otherwise,
        before = os.umask(0o022)
        try:
            journal = FileJournal(tmp_path / "outbox.db")
        finally:
            os.umask(before)
        # when it has accepted an operation, neither the file nor the log beside it is readable.
        with closing(journal):
            journal.commit(Changes(added=[entry(1)]))
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
        assert {"outbox.db", "outbox.db-wal", "outbox.db.lock"} <= set(modes)
        assert set(modes.values()) == {0o600}


class SilentTransport:
    """Takes everything and answers nothing."""

    durable = True

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        pass

    def stage_early(self, blob: BlobFile) -> None:
        pass

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        pass

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        self.messages.put(body)

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        pass

    def forget(self, request_id: str) -> None:
        pass

    def close(self) -> None:
        pass

    def next(self) -> bytes:
        return self.messages.get(timeout=PATIENCE)


class AnsweringTransport(SilentTransport):
    """Answers each message at once."""

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        self.on_write = on_write

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        count = len(codec.decode_message(body).operations)
        outcomes = [Outcome(ok=msgspec.Raw(b"1"))] * count
        self.on_write(message_id, WriteReply(outcomes=outcomes))


class TestGoingOnAfterARestart:
    """What the next client on the same file does with what it finds, without being asked."""

    @pytest.fixture
    def transport(self) -> SilentTransport:
        return SilentTransport()

    def reopened(self, path: Path, transport: SilentTransport) -> closing[_Closed]:
        return closing(_Closed(Outbox(open_homes(path), transport, OutboxOptions())))

    def test_a_message_is_sent_again_with_the_same_bytes(
        self, journal: FileJournal, path: Path, transport: SilentTransport
    ) -> None:
        # The ledger compares bytes; other ones would be refused as another message.
        entries = [entry(n, DELETE) for n in range(1, 12)]
        sent = Dispatch(new_id(), entries)
        journal.commit(Changes(added=entries, packed=[sent]))
        journal.close()
        with self.reopened(path, transport):
            assert transport.next() == sent.body

    def test_what_was_not_packed_yet_is_sent_too(
        self, journal: FileJournal, path: Path, transport: SilentTransport
    ) -> None:
        journal.commit(Changes(added=[entry(1, DELETE)]))
        journal.close()
        with self.reopened(path, transport):
            (operation,) = codec.decode_message(transport.next()).operations
            assert bytes(operation) == DELETE

    def test_what_the_client_had_accepted_at_its_limits_can_be_read_again(
        self, journal: FileJournal, path: Path, transport: SilentTransport
    ) -> None:
        deep: list[object] = []
        for _ in range(MAX_JSON_DEPTH - 1):
            deep = [deep]
        event = encode_event(Event(author="a", content=deep))
        body = codec.encode_operation(AppendEvents(key=KEY, events=[event]))
        journal.commit(Changes(added=[entry(1, body)]))
        journal.close()
        with self.reopened(path, transport) as outbox:
            assert outbox.pending == 1


def test_an_operation_that_is_read_again_is_ordered_by_all_the_state_that_it_touches() -> None:
    event = Event(author="a", state_delta={"app:n": 1, "x": 1}, state_delete=["user:m"])
    append = AppendEvents(key=KEY, events=[encode_event(event)])
    stored = StoredOperation(7, None, codec.encode_operation(append))
    found = read_entry(Home(MemoryJournal(), Spool(None)), stored)
    assert found is not None
    assert (found.row, found.body) == (7, stored.body)
    assert found.keys == {
        ("session", "app", "user", "session"),
        ("app", "app"),
        ("user", "app", "user"),
    }


def test_an_operation_that_cannot_be_read_again_is_named(caplog: pytest.LogCaptureFixture) -> None:
    home = Home(MemoryJournal(), Spool(None))
    append = AppendEvents(key=KEY, events=[msgspec.Raw(b'{"state_delete":"all"}')])
    for body in (b"no JSON", codec.encode_operation(append)):
        caplog.clear()
        assert read_entry(home, StoredOperation(7, None, body)) is None
        assert "operation 7 in in memory cannot be read" in caplog.text


class FullWhileForgetting(FileJournal):
    """Cannot record that a message is confirmed until there is room again."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.refused = threading.Event()
        self.room = threading.Event()

    def commit(self, changes: Changes) -> None:
        if changes.confirmed and not self.room.is_set():
            self.refused.set()
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(changes)


def test_bytes_stay_beside_the_outbox_until_it_is_recorded_that_nobody_needs_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client killed in between would send the message again, and find nothing to send with it.
    monkeypatch.setattr("api_client.outbox.recorder._PAUSE", 0.01)
    spooled = path.parent / "spool" / "1"
    journal, spool, transport = (
        FullWhileForgetting(path),
        Spool(spooled.parent),
        AnsweringTransport(),
    )
    outbox = Outbox([Home(journal, spool)], transport, OutboxOptions())

    def prepare(row: int, spool: Spool) -> tuple[bytes, BlobFile]:
        return DELETE, spool.write(row, [b"large"])

    receipt: Receipt[bytes] = Receipt(PATIENCE, bytes)
    outbox.submit_spooled(prepare, frozenset({("session", "a", "u", "s")}), receipt, 0)
    assert receipt.result() == b"1"
    assert journal.refused.wait(PATIENCE)
    assert spooled.read_bytes() == b"large"

    journal.room.set()
    later: Receipt[bytes] = Receipt(PATIENCE, bytes)
    outbox.submit(DELETE, frozenset({("session", "a", "u", "s")}), later, 0)
    later.result()
    outbox.close(PATIENCE)
    assert not spooled.exists()
    assert found_in(path) == []


class _Closed:
    """Closes an outbox without waiting for what it holds."""

    def __init__(self, outbox: Outbox):
        self.pending = outbox.pending
        self._outbox = outbox

    def close(self) -> None:
        self._outbox.close(0)
