"""What a worker's processes count together."""

from __future__ import annotations

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
from api_client.contract.records import new_id
from worker.dead_letters import Failure
from worker.presence.tally import BOUNDS, Counts, Tally, quantile
from worker.work import Work

#: Enough for two processes that share a place to miss some.
_MANY = 50_000


def message(operations: int = 1, id_: str | None = None) -> Message:
    return Message(id=id_ or new_id(), operations=[msgspec.Raw(b"{}")] * operations)


def id_of(age: float) -> str:
    """A UUIDv7 that was made so many seconds ago."""
    made = datetime.now(timezone.utc) - timedelta(seconds=age)
    return str(UUID(int=round(made.timestamp() * 1000) << 80 | 0x7 << 76 | 0x2 << 62))


def committed(tally: Tally, *messages: Message, failures: int = 0) -> None:
    failure = Failure(new_id(), 0, b"{}", ErrorRecord("not_found", "it is not there"))
    tally.committed([Work(message) for message in messages], {}, [failure] * failures, 0.0)


def test_operations_and_failures() -> None:
    tally = Tally()
    committed(tally, message(3), message(), failures=1)
    tally.known([Work(message(2))])
    tally.gave_up(5)
    tally.refused()
    tally.answered(None)
    found = tally.read()
    assert (found.messages, found.operations, found.failures, found.queries) == (4, 11, 7, 1)
    assert sum(found.wait) == 3


def test_times() -> None:
    tally = Tally()
    committed(tally, message(id_=id_of(100)))
    tally.applied(30.0)
    found = tally.read()
    assert quantile(found.wait, 0.5) == pytest.approx(131.072)
    assert quantile(found.apply, 0.5) == pytest.approx(32.768)


def test_an_id_without_a_time_has_no_wait() -> None:
    tally = Tally()
    committed(tally, message(id_="6f1d0c0e-5a1b-4c55-9d1e-7a646b2d6c74"))
    assert (tally.read().messages, sum(tally.read().wait)) == (1, 0)


def test_clocks_that_disagree_do_no_harm() -> None:
    tally = Tally()
    committed(tally, message(id_=id_of(-3600)))
    assert quantile(tally.read().wait, 0.5) == BOUNDS[0]


def test_processes_count_together_and_for_good() -> None:
    tally = Tally()
    context: Any = billiard.get_context("fork")

    def work(index: int) -> Callable[[], None]:
        def run() -> None:
            process: Any = current_process()
            process.index = index
            for _ in range(_MANY):
                tally.answered(None)

        return run

    # The last one takes the place of one that has ended.
    for indices in ((0, 1), (1,)):
        processes = [context.Process(target=work(index)) for index in indices]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
    assert tally.read().queries == 3 * _MANY


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
