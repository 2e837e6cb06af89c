"""How full the outbox is: callers are refused, or wait until there is room."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api_client.contract.errors import OutboxFull
from api_client.outbox.options import OutboxOptions
from api_client.outbox.usage import Usage

PATIENCE = 10.0


class WatchedUsage(Usage):
    """Tells when a caller has found no room and begins to wait."""

    def __init__(self, max_operations: int, max_bytes: int):
        super().__init__(max_operations, max_bytes)
        self.looked = threading.Semaphore(0)

    def _fits(self, size: int) -> bool:
        found = super()._fits(size)
        if not found:
            # Called under the lock that `release` needs: who has looked twice is waiting by then.
            self.looked.release()
        return found


class Caller(threading.Thread):
    """Reserves room in a thread of its own, and waits for it."""

    def __init__(self, usage: WatchedUsage, size: int):
        super().__init__(daemon=True)
        self.usage, self.size = usage, size
        self.error: BaseException | None = None
        self.start()
        for _ in range(2):
            assert usage.looked.acquire(timeout=PATIENCE)

    def run(self) -> None:
        try:
            # Far longer than the test waits: who is not woken does not wake by itself in time.
            self.usage.reserve(self.size, 100 * PATIENCE)
        except BaseException as error:
            self.error = error

    def got_room(self) -> bool:
        self.join(PATIENCE)
        return not self.is_alive() and self.error is None


def test_what_is_reserved_is_counted_and_what_has_left_is_not() -> None:
    usage = Usage(10, 100)
    usage.reserve(30, block=0)
    usage.reserve(50, block=0)
    assert (usage.operations, usage.bytes) == (2, 80)
    usage.release(1, 30)
    assert (usage.operations, usage.bytes) == (1, 50)


def test_too_many_operations_are_refused_with_the_limit() -> None:
    usage = Usage(2, 100)
    usage.reserve(1, block=0)
    usage.reserve(1, block=0)
    with pytest.raises(OutboxFull, match="holds 2 operations and 2 bytes") as caught:
        usage.reserve(1, block=0)
    assert (caught.value.field, caught.value.limit) == ("max_operations", 2)
    assert (usage.operations, usage.bytes) == (2, 2), "a refusal reserves nothing"


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    usage = Usage(10, 100)
    usage.reserve(60, block=0)
    usage.reserve(40, block=0)
    with pytest.raises(OutboxFull) as caught:
        usage.reserve(1, block=0)
    assert (caught.value.field, caught.value.limit) == ("max_bytes", 100)


def test_an_operation_larger_than_the_whole_limit_may_enter_an_empty_outbox() -> None:
    usage = Usage(10, 100)
    usage.reserve(500, block=0)
    with pytest.raises(OutboxFull):
        usage.reserve(1, block=0)
    usage.release(1, 500)
    usage.reserve(500, block=0)


def test_what_is_found_on_opening_counts_whatever_the_limits() -> None:
    usage = Usage(2, 10)
    usage.count(5, 50)
    assert (usage.operations, usage.bytes) == (5, 50)
    with pytest.raises(OutboxFull):
        usage.reserve(0, block=0)


def test_a_reservation_is_given_back_if_its_operation_could_not_be_taken() -> None:
    usage = Usage(2, 10)
    usage.reserve(4, block=0)
    usage.reserve(3, block=0)
    usage.give_back(4)
    assert (usage.operations, usage.bytes) == (1, 3)


def test_a_waiting_caller_goes_on_when_an_operation_leaves() -> None:
    usage = WatchedUsage(1, 100)
    usage.reserve(1, block=0)
    caller = Caller(usage, 7)
    usage.release(1, 1)
    assert caller.got_room()
    assert (usage.operations, usage.bytes) == (1, 7)


def test_a_waiting_caller_goes_on_only_when_its_bytes_fit() -> None:
    usage = WatchedUsage(10, 100)
    for size in (50, 30, 20):
        usage.reserve(size, block=0)
    caller = Caller(usage, 50)
    usage.release(1, 30)
    assert usage.looked.acquire(timeout=PATIENCE), "it has looked again and found too little"
    usage.release(1, 20)
    assert caller.got_room()
    assert (usage.operations, usage.bytes) == (2, 100)


def test_all_waiting_callers_go_on_when_there_is_room_for_all() -> None:
    usage = WatchedUsage(3, 100)
    usage.count(3, 3)
    callers = [Caller(usage, 1) for _ in range(3)]
    usage.release(3, 3)
    assert [caller.got_room() for caller in callers] == [True] * 3
    assert usage.operations == 3


def test_a_caller_who_waited_in_vain_is_refused() -> None:
    usage = Usage(1, 100)
    usage.reserve(1, block=0)
    with pytest.raises(OutboxFull):
        usage.reserve(1, block=0.01)
    assert usage.operations == 1


def test_nobody_waits_for_room_once_it_has_ended() -> None:
    usage = WatchedUsage(1, 100)
    usage.reserve(1, block=0)
    caller = Caller(usage, 7)
    usage.end()
    assert caller.got_room()


def test_callers_who_are_faster_than_the_pump_pause_until_it_has_caught_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api_client.outbox.usage._MOST_HANDED_OVER", 4)
    monkeypatch.setattr("api_client.outbox.usage._PAUSE", 100 * PATIENCE)
    usage = Usage(100, 100)
    for _ in range(4):
        usage.reserve(1, block=0)
    started, over = threading.Event(), threading.Event()

    def reserve() -> None:
        started.set()
        usage.reserve(1, block=0)
        over.set()

    threading.Thread(target=reserve, daemon=True).start()
    assert started.wait(PATIENCE)
    usage.taken(1)
    assert not over.is_set()
    usage.taken(1)
    assert over.wait(PATIENCE)


def test_an_event_loop_does_not_pause_so_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_client.outbox.usage._MOST_HANDED_OVER", 2)
    monkeypatch.setattr("api_client.outbox.usage._MOST_OF_EVENT_LOOP", 8)
    monkeypatch.setattr("api_client.outbox.usage._PAUSE", 100 * PATIENCE)
    usage = Usage(100, 100)

    async def reserve() -> None:
        for _ in range(8):
            usage.reserve(1, block=0)

    def run() -> None:
        asyncio.run(reserve())

    loop = threading.Thread(target=run, daemon=True)
    loop.start()
    loop.join(PATIENCE)
    assert not loop.is_alive()
    assert usage.operations == 8


def test_they_pause_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_client.outbox.usage._MOST_HANDED_OVER", 4)
    usage = Usage(100, 100)
    for _ in range(10):
        usage.reserve(1, block=0)
    assert usage.operations == 10


def test_a_file_may_hold_more_than_the_memory() -> None:
    options = OutboxOptions()
    assert options.limits(durable=False) == (100_000, 256 * 1024**2)
    assert options.limits(durable=True) == (10_000_000, 4 * 1024**3)


@pytest.mark.parametrize("durable", [False, True])
def test_limits_that_are_given_hold_for_both(durable: bool) -> None:
    assert OutboxOptions(7).limits(durable=durable)[0] == 7
    assert OutboxOptions(max_bytes=9).limits(durable=durable)[1] == 9
