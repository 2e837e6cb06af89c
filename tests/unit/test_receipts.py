"""Receipts: waited for by any thread, awaited in any event loop, resolved once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from api_client.contract.errors import NotFound, Unavailable
from api_client.futures import AwaitableFuture
from api_client.receipts import Receipt

#: Longer than any test takes; a wait that hangs fails the test after it.
PATIENCE = 20.0


@pytest.fixture
def receipt() -> Receipt[int]:
    return Receipt(PATIENCE)


def together(*works: Callable[[], Any]) -> list[BaseException]:
    """Run all works at the same moment, each in a thread; return what they raised."""
    start = threading.Barrier(len(works))
    raised: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        start.wait(PATIENCE)
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return raised


class TestInThreads:
    def test_success_reaches_every_waiting_thread(self, receipt: Receipt[int]) -> None:
        results: list[int] = []
        waiting = [lambda: results.append(receipt.result(PATIENCE))] * 4
        assert together(*waiting, lambda: receipt.succeed(7)) == []
        assert results == [7] * 4

    def test_failure_reaches_every_waiting_thread(self, receipt: Receipt[int]) -> None:
        error = NotFound("gone")
        waiting = [lambda: receipt.result(PATIENCE)] * 4
        assert together(*waiting, lambda: receipt.fail(error)) == [error] * 4
        assert receipt.exception(0) is error

    @pytest.mark.parametrize("one", ["accept", "succeed", "fail"])
    @pytest.mark.parametrize("other", ["accept", "succeed", "fail"])
    def test_two_threads_resolve_it_at_the_same_moment_and_neither_fails(
        self, one: str, other: str
    ) -> None:
        # The caller's thread accepts a read while the outbox's thread may be answering it.
        arguments: dict[str, tuple[Any, ...]] = {"succeed": (1,), "fail": (NotFound("gone"),)}
        for _ in range(50):
            receipt: Receipt[int] = Receipt(PATIENCE)

            def resolve(how: str, receipt: Receipt[int] = receipt) -> None:
                getattr(receipt, how)(*arguments.get(how, ()))

            assert (
                together(
                    lambda: resolve(one),
                    lambda: resolve(other),
                    lambda: receipt.accepted.exception(PATIENCE),  # noqa: B023
                )
                == []
            )
            assert receipt.accepted.done()

    def test_a_wait_that_begins_while_it_is_resolved_ends(self) -> None:
        for _ in range(200):
            receipt: Receipt[int] = Receipt(PATIENCE)
            results: list[int] = []
            assert (
                together(
                    lambda: receipt.succeed(3),  # noqa: B023
                    lambda: results.append(receipt.result(PATIENCE)),  # noqa: B023
                    lambda: concurrent.futures.wait([receipt], timeout=PATIENCE),  # noqa: B023
                )
                == []
            )
            assert results == [3]

    def test_it_is_resolved_once(self, receipt: Receipt[int]) -> None:
        receipt.set_result(1)
        with pytest.raises(concurrent.futures.InvalidStateError):
            receipt.set_result(2)
        with pytest.raises(concurrent.futures.InvalidStateError):
            receipt.set_exception(NotFound("late"))
        assert receipt.result(0) == 1

    def test_many_open_ones_are_few_objects_for_the_garbage_collector(self) -> None:
        gc.collect()
        before = len(gc.get_objects())
        receipts: list[Receipt[int]] = [Receipt(PATIENCE) for _ in range(1000)]
        for receipt in receipts:
            receipt.accept()
        assert len(gc.get_objects()) - before < 1500

    def test_callbacks_run_also_when_added_late(self, receipt: Receipt[int]) -> None:
        seen: list[int] = []
        receipt.add_done_callback(lambda done: seen.append(done.result()))
        receipt.succeed(1)
        receipt.add_done_callback(lambda done: seen.append(done.result()))
        assert seen == [1, 1]

    def test_it_works_with_the_tools_of_the_standard_library(self, receipt: Receipt[int]) -> None:
        other: Receipt[int] = Receipt(PATIENCE)
        other.fail(NotFound("gone"))
        receipt.succeed(1)
        done, _ = concurrent.futures.wait([receipt, other], timeout=PATIENCE)
        assert done == {receipt, other}
        assert set(concurrent.futures.as_completed([receipt, other], PATIENCE)) == done


class TestStages:
    def test_accepted_comes_before_the_result(self, receipt: Receipt[int]) -> None:
        receipt.accept()
        assert receipt.accepted.result(0) is None
        assert not receipt.done()
        receipt.succeed(3)
        assert receipt.result(0) == 3

    def test_what_is_applied_was_accepted(self, receipt: Receipt[int]) -> None:
        receipt.succeed(3)
        assert receipt.accepted.result(0) is None

    def test_a_failure_before_acceptance_fails_both(self, receipt: Receipt[int]) -> None:
        error = Unavailable("the disk is full")
        receipt.fail(error)
        assert receipt.accepted.exception(0) is error
        assert receipt.exception(0) is error

    def test_a_failure_after_acceptance_leaves_it_accepted(self, receipt: Receipt[int]) -> None:
        receipt.accept()
        receipt.fail(NotFound("gone"))
        assert receipt.accepted.result(0) is None
        with pytest.raises(NotFound, match="gone"):
            receipt.result(0)

    def test_the_first_outcome_stays(self, receipt: Receipt[int]) -> None:
        receipt.succeed(1)
        receipt.succeed(2)
        receipt.fail(NotFound("late"))
        receipt.accept()
        assert receipt.result(0) == 1

    @pytest.mark.parametrize("name", ["", "accepted"])
    def test_nothing_can_be_cancelled(self, receipt: Receipt[int], name: str) -> None:
        future: AwaitableFuture[Any] = getattr(receipt, name) if name else receipt
        assert future.cancel() is False
        assert not future.cancelled()
        receipt.succeed(1)
        assert receipt.result(0) == 1


class TestTimeouts:
    def test_a_wait_with_a_timeout_of_its_own_gives_up(self, receipt: Receipt[int]) -> None:
        with pytest.raises(TimeoutError):
            receipt.result(0)
        with pytest.raises(TimeoutError):
            receipt.exception(timeout=0)
        with pytest.raises(TimeoutError):
            receipt.accepted.result(0)

    def test_a_wait_without_one_gives_up_after_the_clients(self) -> None:
        hasty: Receipt[int] = Receipt(0.0)
        for wait in (hasty.result, hasty.exception, hasty.accepted.result):
            with pytest.raises(TimeoutError):
                wait()

    def test_none_means_without_bound(self) -> None:
        # A wait that took None for the client's default would end at once.
        hasty: Receipt[int] = Receipt(0.0)
        results: list[int] = []
        waiting = threading.Thread(target=lambda: results.append(hasty.result(None)))
        waiting.start()
        hasty.succeed(5)
        waiting.join(PATIENCE)
        assert results == [5]

    def test_a_wait_that_gave_up_can_be_repeated(self, receipt: Receipt[int]) -> None:
        with pytest.raises(TimeoutError):
            receipt.result(0)
        receipt.succeed(1)
        assert receipt.result(0) == 1


class TestInEventLoops:
    def test_it_is_awaited_while_another_thread_resolves_it(self, receipt: Receipt[int]) -> None:
        async def program() -> int:
            resolving = threading.Thread(target=lambda: receipt.succeed(9))
            asyncio.get_running_loop().call_soon(resolving.start)
            await receipt.accepted
            return await receipt

        assert asyncio.run(program()) == 9

    def test_a_resolved_one_is_awaited_at_once(self, receipt: Receipt[int]) -> None:
        async def program() -> int:
            return await receipt

        receipt.succeed(9)
        assert asyncio.run(program()) == 9

    def test_failure_is_raised_where_it_is_awaited(self, receipt: Receipt[int]) -> None:
        async def program() -> None:
            with pytest.raises(NotFound, match="gone"):
                await receipt

        receipt.fail(NotFound("gone"))
        asyncio.run(program())

    def test_many_tasks_await_one_and_one_awaits_many(self, receipt: Receipt[int]) -> None:
        receipts: list[Receipt[int]] = [Receipt(PATIENCE) for _ in range(100)]

        async def program() -> list[int]:
            async def one() -> int:
                return await receipt

            tasks = [asyncio.create_task(one()) for _ in range(10)]
            asyncio.get_running_loop().call_soon(lambda: receipt.succeed(1))
            for number, other in enumerate(receipts):
                other.succeed(number)
            return [sum(await asyncio.gather(*tasks)), *await asyncio.gather(*receipts)]

        assert asyncio.run(program()) == [10, *range(100)]

    def test_it_is_awaited_in_several_loops_at_once(self, receipt: Receipt[int]) -> None:
        results: list[int] = []
        all_waiting = threading.Barrier(4)

        async def program() -> None:
            waiting = asyncio.ensure_future(receipt)
            # One turn of the loop, after which the task has begun to wait.
            await asyncio.to_thread(all_waiting.wait, PATIENCE)
            results.append(await waiting)

        def resolve() -> None:
            all_waiting.wait(PATIENCE)
            receipt.succeed(4)

        loops = [lambda: asyncio.run(program())] * 3
        assert together(*loops, resolve) == []
        assert results == [4] * 3

    def test_an_await_gives_up_after_the_clients_timeout(self) -> None:
        async def program() -> None:
            hasty: Receipt[int] = Receipt(0.0)
            with pytest.raises(TimeoutError):
                await hasty
            with pytest.raises(TimeoutError):
                await hasty.accepted

        asyncio.run(program())

    def test_an_await_without_time_to_wait_still_gets_what_is_there(self) -> None:
        async def program() -> int:
            hasty: Receipt[int] = Receipt(0.0)
            hasty.succeed(2)
            assert hasty.result() == 2
            return await hasty

        assert asyncio.run(program()) == 2

    def test_an_await_cut_short_by_wait_for_leaves_the_receipt_whole(
        self, receipt: Receipt[int]
    ) -> None:
        async def program() -> int:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receipt, timeout=0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await receipt
            assert not receipt.done()
            asyncio.get_running_loop().call_soon(lambda: receipt.succeed(6))
            return await receipt

        assert asyncio.run(program()) == 6

    def test_a_cancelled_task_leaves_the_receipt_whole(self, receipt: Receipt[int]) -> None:
        async def program() -> int:
            async def one() -> int:
                return await receipt

            task = asyncio.create_task(one())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not receipt.done()
            receipt.succeed(6)
            return await receipt

        assert asyncio.run(program()) == 6

    @pytest.mark.filterwarnings("error")
    def test_a_loop_that_ended_while_waiting_does_not_harm_who_resolves(
        self, receipt: Receipt[int], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def program() -> None:
            waiting = asyncio.ensure_future(receipt)
            await asyncio.sleep(0)
            assert not waiting.done()

        asyncio.run(program())
        receipt.succeed(6)
        assert receipt.result(0) == 6
        assert not caplog.records


def test_a_failure_that_is_only_looked_at_counts_as_unseen(receipt: Receipt[int]) -> None:
    seen: list[bool] = []
    assert receipt.failure is None
    error = NotFound("gone")
    receipt.fail(error, lambda: seen.append(True))
    assert receipt.failure is error
    asyncio.run(receipt.settled())
    assert seen == []
    assert receipt.exception(0) is error
    assert seen == [True]


def test_settled_waits_and_does_not_raise(receipt: Receipt[int]) -> None:
    async def run() -> None:
        waiting = asyncio.create_task(receipt.settled())
        await asyncio.sleep(0)
        assert not waiting.done()
        receipt.fail(NotFound("gone"))
        await waiting

    asyncio.run(run())
