"""`zdk top` as people see it, and the sums it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from worker.broker.queues import QueueState, UnacknowledgedState
from worker.cli.top_view import screen
from worker.presence.beats import Beat, SeenWorker
from worker.presence.tally import BOUNDS, Counts
from worker.top.states import (
    BrokerLook,
    DatabaseLook,
    MemoryState,
    NewestDeadLetter,
    Picture,
)
from worker.top.totals import look_of, totals_of

_NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def worker(
    number: int,
    *,
    silent: float = 1.0,
    operations: int = 5000,
    host: str = "zdk-worker-6d5f7c9b8-x2lqz",
) -> SeenWorker:
    none = [0] * len(BOUNDS)
    beat = Beat(
        name=f"zdk-{number}@{host}",
        host=host,
        pid=100_000 + number,
        version="1.0.0",
        processes=4,
        busy=3,
        stopping=False,
        uptime=7000.0,
        seconds=5.0,
        recent=Counts(
            messages=50, operations=operations, failures=5, wait=(50, *none), apply=(50, *none)
        ),
    )
    return SeenWorker(beat, silent)


@dataclass
class Situation:
    """What there is to see."""

    workers: list[SeenWorker] = field(default_factory=lambda: [worker(1), worker(2)])
    memory: MemoryState | None = field(
        default_factory=lambda: MemoryState(10_000_000, 512_000_000, "noeviction")
    )
    lag: float | None = 3.0

    def picture(self) -> Picture:
        return Picture(
            at=_NOW,
            broker=BrokerLook(
                queues=[QueueState("storage.write", 1200, 3.0), QueueState("storage.read", 0)],
                unacknowledged=UnacknowledgedState(8, 0.4),
                lag=self.lag,
                memory=self.memory,
            ),
            workers=[look_of(one) for one in self.workers],
            totals=totals_of(self.workers),
            database=DatabaseLook(
                dialect="postgresql",
                size=3_400_000,
                dead_letters=3,
                newest=NewestDeadLetter(_NOW - timedelta(minutes=4), "not_found"),
                connections=16,
                most_connections=97,
            ),
            trouble={},
        )


def lines(picture: Picture, *, width: int = 80, height: int | None = None) -> list[str]:
    output = StringIO()
    console = Console(file=output, width=width)
    console.print(screen(picture, interval=2.0, height=height))
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_everything_is_seen_in_80_columns() -> None:
    shown = "\n".join(lines(Situation().picture()))
    assert "…" not in shown
    for expected in (
        *("1,200", "Unacknowledged", "20 messages/s, 2,000 operations/s, 2.0 failures/s"),
        *("commit <= 1 ms, p95 <= 1 ms; apply <= 1 ms", "3, newest 4 min ago: not_found"),
        *("16 of 97 connections", "10.0 MB of 512.0 MB (2%), noeviction"),
        *("zdk-worker-6d5f7c9b8-x2lqz", "100001", "3/4", "1,000"),
    ):
        assert expected in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_long_names_are_cut_before_numbers_are() -> None:
    row = lines(Situation([worker(1, host="h" * 60)]).picture())[-1]
    assert len(row) <= 80
    assert "…" in row
    assert row.split()[1:] == ["100001", "3/4", "10", "1,000", "1.0", "117", "min", "1.0", "s"]


def test_workers_are_counted_where_the_screen_ends() -> None:
    many = Situation([worker(number) for number in range(40)])
    shown = lines(many.picture(), height=24)
    assert len(shown) <= 24
    assert "and 33 more" in shown[-1]
    assert len(lines(many.picture())) > 50


def test_a_worker_that_is_gone_comes_first_and_does_not_count() -> None:
    situation = Situation([worker(1), worker(2, silent=40.0)])
    picture = situation.picture()
    shown = lines(picture, width=120)
    rows = [line for line in shown if line.startswith("zdk-")]
    assert "100002  gone" in rows[0]
    assert rows[0].endswith("40 s")
    assert picture.totals is not None
    assert (picture.totals.alive, picture.totals.processes) == (1, 4)
    assert picture.totals.rates.operations == 1000


def test_times_are_those_of_all_workers_together() -> None:
    beat = worker(1).beat
    none = [0] * (len(BOUNDS) - 2)
    quick = Counts(wait=(90, 0, 0, *none), apply=(0, 60, 0, *none))
    slow = Counts(wait=(0, 0, 10, *none), apply=(0, 0, 40, *none))
    found = totals_of(
        SeenWorker(msgspec.structs.replace(beat, recent=recent), 1.0) for recent in (quick, slow)
    )
    assert (found.wait_p50, found.wait_p95) == (BOUNDS[0], BOUNDS[2])
    assert (found.apply_p50, found.apply_p95) == (BOUNDS[1], BOUNDS[2])


def test_no_workers() -> None:
    assert "no workers" in "\n".join(lines(Situation([]).picture()))


def test_a_broker_that_tells_less() -> None:
    shown = "\n".join(lines(Situation(memory=None, lag=None).picture()))
    assert "not told by this broker" in shown


@pytest.mark.parametrize(
    ("part", "label"),
    [("broker", "broker: "), ("workers", "workers: "), ("database", "Database")],
)
def test_a_part_that_does_not_answer_is_named(part: str, label: str) -> None:
    picture = msgspec.structs.replace(
        Situation().picture(), **{part: None, "trouble": {part: "does not answer since 7 s"}}
    )
    shown = lines(picture)
    assert any(
        line.startswith(label) and line.endswith("does not answer since 7 s") for line in shown
    )
    # The others are still there.
    assert sum(word in "\n".join(shown) for word in ("storage.write", "100001", "postgresql")) == 2
