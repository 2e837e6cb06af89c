"""More operations than fit into memory: kept in the file, worked off in order, waited for."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from api_client.outbox.entries import Entry
from api_client.outbox.homes import Home, open_homes
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.requests import on
from api_client.transport.base import BlobFile
from tests.support.driven import DrivenLoop, FakeWorker, delete, ordering, write

#: So few may wait in memory.
FEW = 10
OPTIONS = OutboxOptions(loaded_operations=FEW)
PATIENCE = 60.0


@pytest.fixture
def outbox(path: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    with opened(path, worker, loop) as outbox:
        yield outbox


@contextmanager
def opened(place: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    outbox = Outbox(open_homes(place), worker, OPTIONS, loop)
    loop.settle()
    yield outbox
    outbox.close(0)


def write_many(outbox: Outbox, names: list[str]) -> None:
    """Fire and forget."""
    for name in names:
        write(outbox, name)


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:03}" for number in range(count)]


def in_memory(path: Path) -> int:
    """How many entries of one outbox there are. Other tests may have left some of theirs."""
    homes = (found.home for found in gc.get_objects() if isinstance(found, Entry))
    return sum(isinstance(home, Home) and home.journal.name == str(path) for home in homes)


def come_up(worker: FakeWorker, loop: DrivenLoop) -> None:
    worker.up = True
    loop.wait(60)


class TestOrder:
    def test_all_are_applied_in_the_order_of_issue(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        names = numbered("s", 100)
        write_many(outbox, names)
        loop.settle()
        come_up(worker, loop)
        assert worker.sessions == names
        assert outbox.pending == 0

    def test_what_comes_later_goes_to_the_end(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, numbered("a", 60))
        loop.settle()
        worker.up, worker.answering = True, False
        loop.wait(60)
        write_many(outbox, numbered("b", 60))
        loop.settle()
        worker.answering = True
        loop.wait(60)
        assert worker.sessions == numbered("a", 60) + numbered("b", 60)

    def test_a_restart_in_the_middle_changes_nothing(self, path: Path, worker: FakeWorker) -> None:
        for half in "ab":
            loop = DrivenLoop()
            with opened(path, worker, loop) as outbox:
                write_many(outbox, numbered(half, 60))
                loop.settle()
        loop = DrivenLoop()
        with opened(path, worker, loop) as outbox:
            assert outbox.pending == 120
            come_up(worker, loop)
            assert outbox.pending == 0
        assert worker.sessions == numbered("a", 60) + numbered("b", 60)

    def test_adopted_ones_come_before_a_clients_own(
        self, tmp_path: Path, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        for name in "ab":
            dead = DrivenLoop()
            with opened(tmp_path / f"{name}.outbox", worker, dead) as outbox:
                write_many(outbox, numbered(name, 60))
                dead.settle()
        worker = FakeWorker(up=False)
        with opened(tmp_path, worker, loop) as outbox:
            write_many(outbox, numbered("c", 60))
            loop.settle()
            come_up(worker, loop)
        # What a former client had packed leaves before what only waited.
        packed = [name for name in worker.sessions if name in {f"a{n:03}" for n in range(60)}]
        assert packed == numbered("a", 60)
        own = [name for name in worker.sessions if name.startswith("c")]
        assert worker.sessions[-60:] == own == numbered("c", 60)
        assert Counter(worker.sessions) == Counter(
            numbered("a", 60) + numbered("b", 60) + numbered("c", 60)
        )


class TestMemory:
    def test_only_a_few_are_in_memory(self, path: Path, outbox: Outbox, loop: DrivenLoop) -> None:
        write_many(outbox, ["s"] * 300)
        loop.settle()
        gc.collect()
        assert outbox.pending == 300
        # Those that wait, and those of the one message that was formed.
        assert in_memory(path) <= 2 * FEW + 1

    def test_a_log_that_is_kept_keeps_none_of_them(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Given one that could not send, and said so to who keeps what is logged,
        loop = DrivenLoop()
        with caplog.at_level(logging.INFO), opened(path, FakeWorker(up=False), loop) as outbox:
            write_many(outbox, ["s"] * 300)
            loop.settle()
        assert "could not be sent" in caplog.text
        # when nobody has it any more, then nothing of it is in memory.
        del outbox, loop
        gc.collect()
        assert in_memory(path) == 0

    def test_a_receipt_that_nobody_holds_costs_nothing(
        self, outbox: Outbox, loop: DrivenLoop
    ) -> None:
        write_many(outbox, ["s"] * 50)
        forgotten = weakref.ref(write(outbox))
        loop.settle()
        gc.collect()
        assert forgotten() is None

    def test_one_that_is_held_is_resolved(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, ["s"] * 50)
        receipt = write(outbox)
        loop.settle()
        assert receipt.accepted.done()
        come_up(worker, loop)
        assert receipt.result(0) == b"1"

    def test_one_with_a_callback_is_kept_until_it_was_called(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        called: list[object] = []
        write_many(outbox, ["s"] * 50)
        receipt = write(outbox)
        kept = weakref.ref(receipt)
        receipt.add_done_callback(lambda done: called.append(done.result()))
        del receipt
        loop.settle()
        gc.collect()
        come_up(worker, loop)
        assert called == [b"1"]
        gc.collect()
        assert kept() is None

    def test_a_task_that_awaits_one_which_nobody_else_holds_goes_on(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, ["s"] * 50)
        results: list[bytes] = []

        async def one() -> None:
            receipt: Receipt[bytes] = Receipt(PATIENCE, bytes)
            outbox.submit(delete("s"), frozenset({ordering("s")}), receipt, 0)
            results.append(await receipt)

        async def program() -> None:
            task = asyncio.create_task(one())
            await asyncio.sleep(0)
            finished = asyncio.get_running_loop().create_future()
            task.add_done_callback(lambda _: finished.set_result(None))
            del task
            loop.settle()
            gc.collect()
            come_up(worker, loop)
            await asyncio.wait_for(finished, PATIENCE)

        asyncio.run(program())
        assert results == [b"1"]

    def test_those_that_are_held_fail_when_the_client_closes(
        self, path: Path, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        with opened(path, worker, loop) as outbox:
            write_many(outbox, ["s"] * 50)
            receipt = write(outbox)
            loop.settle()
        with pytest.raises(Unavailable, match="stays in the outbox"):
            receipt.result(0)


class TestWaiting:
    def test_a_query_waits_for_writes_that_are_only_in_the_file(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, [*numbered("s", 50), "mine", *numbered("t", 50)])
        loop.settle()
        answer: Receipt[bytes] = Receipt(0.0, bytes)
        outbox.ask(b"{}", on(ordering("mine")), answer, 10_000)
        come_up(worker, loop)
        order = worker.sessions
        assert order.index("mine") < order.index("query") < order.index("t049")
        assert answer.result(0) == b"42"

    def test_it_does_not_wait_for_what_was_issued_after_it(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, numbered("s", 50))
        loop.settle()
        answer: Receipt[bytes] = Receipt(0.0, bytes)
        outbox.ask(b"{}", on(ordering("later")), answer, 10_000)
        write(outbox, "later")
        loop.settle()
        come_up(worker, loop)
        order = worker.sessions
        assert order.index("query") < order.index("later")
        assert answer.result(0) == b"42"

    def test_a_flush_waits_for_all_that_is_in_the_file(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        flushed = threading.Event()
        write_many(outbox, numbered("s", 50))
        loop.settle()
        loop.pump.when_confirmed(flushed.set)
        loop.settle()
        assert not flushed.is_set()
        come_up(worker, loop)
        assert flushed.is_set()

    @pytest.mark.parametrize("count", [1, 50])
    def test_a_flush_given_up_is_forgotten_whether_or_not_there_is_a_backlog(
        self, outbox: Outbox, loop: DrivenLoop, count: int
    ) -> None:
        write_many(outbox, ["s"] * count)
        flushed = threading.Event()
        kept = weakref.ref(flushed)
        give_up = loop.pump.when_confirmed(flushed.set)
        loop.settle()
        give_up()
        loop.settle()
        del flushed, give_up
        gc.collect()
        assert kept() is None

    def test_a_query_given_up_is_not_waited_for_any_more(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, numbered("s", 50))
        answer: Receipt[bytes] = Receipt(0.0, bytes)
        outbox.ask(b"{}", on(ordering("s049")), answer, 5)
        kept = weakref.ref(answer)
        loop.settle()
        loop.wait(6)
        with pytest.raises(Unavailable, match="earlier writes are not applied"):
            answer.result(0)
        del answer
        gc.collect()
        assert kept() is None
        come_up(worker, loop)
        assert "query" not in worker.sessions


class TestPreparing:
    """Saves whose bytes are still being copied beside the outbox."""

    def save(
        self, outbox: Outbox, session: str, prepare: Callable[[int, Spool], tuple[bytes, BlobFile]]
    ) -> Receipt[bytes]:
        receipt: Receipt[bytes] = Receipt(0.0, bytes)
        outbox.submit_spooled(prepare, frozenset({ordering(session)}), receipt, 0)
        return receipt

    @staticmethod
    def good(row: int, spool: Spool) -> tuple[bytes, BlobFile]:
        return delete("saved"), spool.write(row, [b"bytes"])

    @staticmethod
    def bad(row: int, spool: Spool) -> tuple[bytes, BlobFile]:
        raise OSError("the file has gone")

    def test_one_keeps_its_place_and_the_others_do_not_wait_for_it(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, numbered("a", 30))
        receipt = self.save(outbox, "b005", self.good)
        write_many(outbox, numbered("b", 30))
        worker.up = True
        loop.turn()
        while loop.sender.run() or loop.events or loop.due == loop.now:
            loop.turn()
        # Everything has left but the save, and what shares its session.
        others = [name for name in numbered("b", 30) if name != "b005"]
        assert worker.sessions == numbered("a", 30) + others
        loop.settle()
        assert worker.sessions[-2:] == ["saved", "b005"]
        assert receipt.result(0) == b"1"

    def test_one_prepared_while_it_is_in_the_backlog_is_taken_in_its_place(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, ["a"] * 30)
        receipt = self.save(outbox, "b", self.good)
        write_many(outbox, ["b"] * 30)
        loop.settle()
        come_up(worker, loop)
        assert worker.sessions == ["a"] * 30 + ["saved"] + ["b"] * 30
        assert receipt.result(0) == b"1"

    def test_one_that_cannot_be_prepared_leaves_the_backlog(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        write_many(outbox, ["a"] * 30)
        receipt = self.save(outbox, "b", self.bad)
        flushed = threading.Event()
        loop.pump.when_confirmed(flushed.set)
        loop.settle()
        with pytest.raises(Unavailable, match="the file has gone"):
            receipt.result(0)
        assert outbox.pending == 30
        come_up(worker, loop)
        assert flushed.is_set()
        assert worker.sessions == ["a"] * 30


class TestMany:
    """With real threads, and the real bound on what is in memory."""

    COUNT = 60_000
    SESSIONS = 200

    def test_sixty_thousand_wait_in_the_file_and_are_all_applied_in_order(self, path: Path) -> None:
        names = [str(number) for number in range(self.SESSIONS)]
        # Given a client that closes with half of them, while nothing can be sent,
        for _ in range(2):
            options = OutboxOptions(loaded_operations=20_000)
            outbox = Outbox(open_homes(path), FakeWorker(up=False), options)
            for _ in range(self.COUNT // 2 // self.SESSIONS):
                write_many(outbox, names)
            # The second is taken in a turn of its own, which no longer holds those before.
            for _ in range(2):
                write(outbox, "last").accepted.result(PATIENCE)
            gc.collect()
            assert in_memory(path) <= 20_000 + 8 * 500 + 1
            outbox.close(0)

        # when the next one can,
        worker = FakeWorker()
        outbox = Outbox(open_homes(path), worker, OutboxOptions())
        assert outbox.flush(PATIENCE) == 0
        outbox.close(PATIENCE)

        # then everything is applied once, and the file is small again.
        assert Counter(worker.sessions) == {
            **dict.fromkeys(names, self.COUNT // self.SESSIONS),
            "last": 4,
        }
        assert path.stat().st_size < 100_000
