"""What a worker's processes count together."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import billiard
import msgspec
import pytest
from billiard.process import current_process

from api_client.contract.codec import Message
from api_client.contract.errors import ErrorRecord
from api_client.contract.outcomes import Outcome, WriteReply
from api_client.contract.records import new_id
from worker.tally import BOUNDS, Counts, Tally, quantile

_OK = Outcome(ok=msgspec.Raw(b"{}"))
_FAILED = Outcome(error=ErrorRecord("not_found", "it is not there"))


def message(operations: int = 1, id_: str | None = None) -> Message:
    return Message(id=id_ or new_id(), operations=[msgspec.Raw(b"{}")] * operations)


def id_of(age: float) -> str:
    """A UUIDv7 that was made so many seconds ago."""
    made = datetime.now(timezone.utc) - timedelta(seconds=age)
    return str(UUID(int=round(made.timestamp() * 1000) << 80 | 0x7 << 76 | 0x2 << 62))


def test_operations_and_failures() -> None:
    tally = Tally()
    replies = [WriteReply(outcomes=[_OK, _FAILED, _OK]), WriteReply(outcomes=[_OK])]
    tally.applied([message(3), message()], replies, time.time())
    tally.refused()
    tally.answered()
    found = tally.read()
    assert (found.messages, found.operations, found.failures, found.queries) == (2, 4, 2, 1)
    assert sum(found.wait) == sum(found.apply) == 2


def test_a_message_refused_as_a_whole_fails_with_all_its_operations() -> None:
    tally = Tally()
    reply = WriteReply(error=ErrorRecord("conflict", "used before"))
    tally.applied([message(3)], [reply], time.time())
    assert tally.read().failures == 3


def test_a_message_without_its_bytes_does_not_count() -> None:
    tally = Tally()
    tally.applied([message()], [WriteReply(missing=["0" * 64])], time.time())
    assert tally.read() == Counts()


def test_times() -> None:
    tally = Tally()
    reply = WriteReply(outcomes=[_OK])
    # Issued 100 s ago, begun 30 s ago.
    tally.applied([message(id_=id_of(100))], [reply], time.time() - 30)
    found = tally.read()
    assert quantile(found.wait, 0.5) == pytest.approx(131.072)
    assert quantile(found.apply, 0.5) == pytest.approx(32.768)


def test_an_id_without_a_time_has_no_wait() -> None:
    tally = Tally()
    id_ = "6f1d0c0e-5a1b-4c55-9d1e-7a646b2d6c74"
    tally.applied([message(id_=id_)], [WriteReply(outcomes=[_OK])], time.time())
    assert (sum(tally.read().wait), sum(tally.read().apply)) == (0, 1)


def test_clocks_that_disagree_do_no_harm() -> None:
    tally = Tally()
    tally.applied([message(id_=id_of(-3600))], [WriteReply(outcomes=[_OK])], time.time() + 3600)
    assert tally.read().messages == 1


def test_processes_count_together_and_for_good() -> None:
    tally = Tally()
    context: Any = billiard.get_context("fork")

    def work(index: int) -> Callable[[], None]:
        def run() -> None:
            process: Any = current_process()
            process.index = index
            for _ in range(1000):
                tally.answered()

        return run

    # The last one takes the place of one that has ended.
    for indices in ((0, 1), (1,)):
        processes = [context.Process(target=work(index)) for index in indices]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
    assert tally.read().queries == 3000


def test_what_was_done_since() -> None:
    before = Counts(messages=1, operations=5, wait=(1, *[0] * len(BOUNDS)))
    after = Counts(messages=3, operations=9, wait=(1, 2, *[0] * (len(BOUNDS) - 1)))
    since = after - before
    assert (since.messages, since.operations, since.wait[:3]) == (2, 4, (0, 2, 0))
    assert before + since == after


@pytest.mark.parametrize(
    ("classes", "share", "expected"),
    [
        ([0, 0, 0], 0.5, None),
        ([1, 0, 0], 0.95, BOUNDS[0]),
        ([99, 0, 1], 0.5, BOUNDS[0]),
        ([90, 0, 10], 0.95, BOUNDS[2]),
        ([*[0] * len(BOUNDS), 1], 0.5, BOUNDS[-1]),
    ],
)
def test_quantile(classes: list[int], share: float, expected: float | None) -> None:
    assert quantile(classes, share) == expected
