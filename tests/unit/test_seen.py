"""Failures that somebody has seen: the worker is told to forget their dead letters."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_client.contract import codec
from api_client.contract.errors import NotFound
from api_client.contract.operations import DiscardDeadLetter, WriteOperation
from api_client.contract.outcomes import Outcome
from api_client.outbox.homes import open_homes
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.seen import SeenFailures
from api_client.receipts import Receipt
from tests.support.driven import BAD, OK, DrivenLoop, FakeWorker, write


class TestGathering:
    def test_nothing_is_due_without_any(self) -> None:
        seen = SeenFailures()
        assert seen.next_due() is None
        assert seen.take(1e9) == []

    def test_those_of_half_a_second_go_together(self) -> None:
        seen = SeenFailures()
        seen.add("m1", 3, now=10.0)
        seen.add("m2", 0, now=10.4)
        assert seen.next_due() == 10.5
        assert seen.take(10.4) == []
        assert [codec.decode_operation(raw) for raw in seen.take(10.5)] == [
            DiscardDeadLetter(message_id="m1", position=3),
            DiscardDeadLetter(message_id="m2", position=0),
        ]
        assert seen.next_due() is None

    def test_no_more_than_a_message_holds_go_at_once(self) -> None:
        seen = SeenFailures()
        for position in range(700):
            seen.add("m", position, now=0.0)
        assert len(seen.take(0.5)) == 500
        assert seen.next_due() == 1.0
        assert seen.take(0.9) == []
        assert len(seen.take(1.0)) == 200

    def test_they_do_not_pile_up(self) -> None:
        seen = SeenFailures()
        for position in range(20_000):
            seen.add("m", position, now=0.0)
        taken = 0
        while seen.next_due() is not None:
            taken += len(seen.take(seen.next_due() or 0.0))
        assert taken == 10_000


@pytest.fixture
def worker() -> FakeWorker:
    """Fails what concerns the session ``bad``."""
    worker = FakeWorker()

    def outcome(operation: WriteOperation) -> Outcome:
        if isinstance(operation, DiscardDeadLetter):
            return OK
        return BAD if operation.key.session == "bad" else OK

    worker.outcome = outcome
    return worker


@pytest.fixture
def loop() -> DrivenLoop:
    return DrivenLoop()


@pytest.fixture
def outbox(tmp_path: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    opened = Outbox(open_homes(tmp_path / "outbox.db"), worker, OutboxOptions(), loop)
    yield opened
    opened.close(0)


def discarded(worker: FakeWorker) -> list[DiscardDeadLetter]:
    return [op for op in worker.applied if isinstance(op, DiscardDeadLetter)]


def by_result(receipt: Receipt[bytes]) -> None:
    with pytest.raises(NotFound):
        receipt.result(0)


def by_exception(receipt: Receipt[bytes]) -> None:
    assert isinstance(receipt.exception(0), NotFound)


def by_await(receipt: Receipt[bytes]) -> None:
    async def program() -> None:
        with pytest.raises(NotFound):
            await receipt

    asyncio.run(program())


def by_callback(receipt: Receipt[bytes]) -> None:
    receipt.add_done_callback(lambda _: None)


class TestTelling:
    @pytest.mark.parametrize("see", [by_result, by_exception, by_await, by_callback])
    def test_a_failure_that_was_seen_is_told(
        self,
        outbox: Outbox,
        worker: FakeWorker,
        loop: DrivenLoop,
        see: Callable[[Receipt[bytes]], None],
    ) -> None:
        write(outbox, "good")
        receipt = write(outbox, "bad")
        loop.settle()
        see(receipt)
        loop.wait(0.5)
        (message, _) = worker.messages
        assert discarded(worker) == [DiscardDeadLetter(message_id=message, position=1)]

    @pytest.mark.parametrize("early", ["callback", "wait"])
    def test_who_asked_before_has_seen_it_when_it_comes(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop, early: str
    ) -> None:
        receipt = write(outbox, "bad")
        if early == "callback":
            receipt.add_done_callback(lambda _: None)
            loop.settle()
        else:
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                waiting = thread.submit(receipt.result, 60)
                loop.settle()
                assert isinstance(waiting.exception(60), NotFound)
        loop.wait(0.5)
        assert len(discarded(worker)) == 1

    def test_one_that_nobody_looks_at_is_not_told(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "bad")
        loop.settle()
        loop.wait(60)
        assert receipt.done()
        assert discarded(worker) == []

    def test_who_gave_up_waiting_has_not_seen_it(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "bad")
        with pytest.raises(TimeoutError):
            receipt.result(0)
        with pytest.raises(TimeoutError):
            receipt.exception(0)

        async def program() -> None:
            with pytest.raises(TimeoutError):
                await receipt

        asyncio.run(program())
        loop.settle()
        loop.wait(60)
        assert receipt.done()
        assert discarded(worker) == []

    def test_successes_are_not_told(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "good")
        receipt.add_done_callback(lambda _: None)
        loop.settle()
        assert receipt.result(0) == b"1"
        loop.wait(60)
        assert discarded(worker) == []

    def test_each_is_told_once_and_is_no_operation_of_the_outbox(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "bad")
        loop.settle()
        by_result(receipt)
        by_exception(receipt)
        worker.answering = False
        loop.wait(0.5)
        assert outbox.pending == 0
        loop.wait(60)
        assert len(discarded(worker)) == 1

    def test_replies_are_forgotten_those_that_never_come_too(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        for _ in range(30):
            worker.answering = True
            receipt = write(outbox, "bad")
            loop.settle()
            worker.answering = False
            by_result(receipt)
            loop.wait(0.5)
        assert len(set(worker.messages) - set(worker.forgotten)) <= 20

    def test_what_cannot_be_told_is_let_be(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "bad")
        loop.settle()
        by_result(receipt)
        worker.up = False
        loop.wait(0.5)
        worker.up = True
        loop.wait(60)
        assert discarded(worker) == []
        assert outbox.pending == 0

    def test_closing_tells_what_was_seen_last(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        receipt = write(outbox, "bad")
        loop.settle()
        by_result(receipt)
        outbox.close(0)
        assert len(discarded(worker)) == 1
