"""A message that is too old to be recognised by the ledger is not sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from api_client.contract.limits import MAX_MESSAGE_AGE_DAYS
from api_client.contract.records import new_id
from api_client.outbox.age import created_at, oldest_id
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.expired import drop_expired
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.schedule import ScheduleOptions
from api_client.outbox.spool import Spool
from tests.support.driven import NOON, DrivenLoop, FakeWorker, delete, message_id, write

DAY = 86_400.0
LIMIT = MAX_MESSAGE_AGE_DAYS * DAY


@pytest.fixture
def outbox(path: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    options = OutboxOptions(schedule=ScheduleOptions(window=2, operations=2))
    opened = Outbox(open_homes(path), worker, options, loop)
    yield opened
    opened.close(0)


def leave(path: Path, *messages: str, waiting: int = 0) -> None:
    """What a former client has left: messages of two operations, and others in none."""
    entries = [Entry(n + 1, frozenset(), delete(f"s{n}")) for n in range(2 * len(messages))]
    more = [Entry(len(entries) + n + 1, frozenset(), delete("waiting")) for n in range(waiting)]
    packed = [Dispatch(m, entries[2 * n : 2 * n + 2]) for n, m in enumerate(messages)]
    with closing(FileJournal(path)) as journal:
        journal.commit(Changes(added=entries + more, packed=packed))


class TestAge:
    def test_an_id_tells_when_it_was_made(self) -> None:
        assert created_at(message_id(NOON, 1)).timestamp() == NOON

    def test_ids_of_the_last_days_are_young_enough(self) -> None:
        oldest = oldest_id(NOON)
        assert message_id(NOON - LIMIT - 0.002, 1) < oldest <= message_id(NOON - LIMIT, 0)
        assert new_id() >= oldest_id(created_at(new_id()).timestamp())


class TestOpening:
    def test_a_refused_outbox_is_unchanged(self, path: Path) -> None:
        leave(path, message_id(NOON - LIMIT - DAY, 1), waiting=3)
        before = path.read_bytes()
        with pytest.raises(Unavailable):
            open_homes(path, lambda: NOON)
        assert path.read_bytes() == before

    def test_old_messages_are_refused_with_what_they_are_and_what_to_do(self, path: Path) -> None:
        leave(path, message_id(NOON - LIMIT - DAY, 1), message_id(NOON - LIMIT - 1, 2))
        with pytest.raises(Unavailable) as caught:
            open_homes(path, lambda: NOON)
        message = caught.value.message
        assert caught.value.field == "outbox"
        assert "4 operations in 2 messages" in message
        assert f"{created_at(message_id(NOON - LIMIT - DAY, 1)):%Y-%m-%d %H:%M} UTC" in message
        assert f"zdk outbox drain {path} --drop-expired" in message

    def test_refused_they_stay_and_the_file_is_not_locked(self, path: Path) -> None:
        leave(path, message_id(NOON - LIMIT - 1, 1))
        for _ in range(2):
            with pytest.raises(Unavailable, match="2 operations in 1 messages"):
                open_homes(path, lambda: NOON)

    def test_younger_ones_go_on(self, path: Path) -> None:
        leave(path, message_id(NOON - LIMIT + 1, 1))
        (home,) = open_homes(path, lambda: NOON)
        assert home.open == 2
        home.journal.close()

    def test_what_was_never_packed_goes_on_at_any_age(self, path: Path) -> None:
        leave(path, waiting=3)
        (home,) = open_homes(path, lambda: NOON + 1000 * DAY)
        assert home.open == 3
        home.journal.close()

    def test_in_a_folder_the_other_files_go_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        leave(tmp_path / "1.outbox", message_id(NOON - LIMIT - 1, 1))
        leave(tmp_path / "2.outbox", message_id(NOON, 2))
        homes = open_homes(tmp_path, lambda: NOON)
        assert [home.open for home in homes] == [2, 0]
        assert "1.outbox holds 2 operations" in caplog.text
        for home in homes:
            home.journal.close()


class TestRunning:
    def test_a_message_that_becomes_too_old_is_sent_no_more(
        self,
        outbox: Outbox,
        worker: FakeWorker,
        loop: DrivenLoop,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receipt = write(outbox)
        loop.settle()
        loop.wait(LIMIT + 1)
        worker.up = True
        for _ in range(20):
            loop.wait(1000)
        assert worker.messages == []
        with pytest.raises(Unavailable, match="not sent again"):
            receipt.result(0)
        assert caplog.text.count("are given up") == 1

    def test_its_operations_stay_in_the_file(
        self, path: Path, outbox: Outbox, loop: DrivenLoop
    ) -> None:
        write(outbox)
        loop.settle()
        loop.wait(LIMIT + 1)
        assert outbox.pending == 1
        outbox.close(0)
        with pytest.raises(Unavailable, match="1 operations in 1 messages"):
            open_homes(path, lambda: loop.wall)

    def test_what_shares_its_session_stays_behind_it_and_others_go_on(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        # As many messages as may be on their way become too old.
        for name in ("a", "a", "b", "b"):
            write(outbox, name)
        loop.settle()
        loop.wait(LIMIT + 1)
        worker.up = True
        for name in ("a", "c", "b", "c"):
            write(outbox, name)
        loop.settle()
        assert worker.sessions == ["c", "c"]

    def test_an_outcome_that_comes_late_still_counts(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        worker.up, worker.answering = True, False
        write(outbox)
        loop.settle()
        loop.wait(LIMIT + 1)
        write(outbox)
        worker.answering = True
        worker.send_message(
            worker.messages[0],
            b'{"version":1,"id":"%b","operations":[%b]}'
            % (worker.messages[0].encode(), delete("s")),
        )
        loop.settle()
        assert outbox.pending == 0
        assert worker.sessions == ["s", "s"]


class TestDropping:
    def test_old_messages_move_into_a_file_beside(self, path: Path) -> None:
        old = message_id(1, 1)
        leave(path, old, new_id(), waiting=1)
        kept = drop_expired(path)
        assert kept is not None
        assert [json.loads(line) for line in kept.read_text().splitlines()] == [
            {"message_id": old, "row": n + 1, "operation": json.loads(delete(f"s{n}"))}
            for n in range(2)
        ]
        (home,) = open_homes(path)
        assert home.open == 3
        assert not home.journal.holds(1)
        home.journal.close()

    def test_the_bytes_they_refer_to_move_too(self, path: Path) -> None:
        leave(path, message_id(1, 1), waiting=1)
        spool = Spool(Path(f"{path}.spool"))
        for row in (2, 3):
            spool.write(row, [b"bytes"])
        kept = drop_expired(path)
        assert kept is not None
        assert (kept.with_suffix(".spool") / "2").read_bytes() == b"bytes"
        assert [file.name for file in Path(f"{path}.spool").iterdir()] == ["3"]

    def test_without_any_nothing_is_made(self, path: Path) -> None:
        leave(path, new_id())
        before = {file.name for file in path.parent.iterdir()}
        assert drop_expired(path) is None
        assert {file.name for file in path.parent.iterdir()} == before
