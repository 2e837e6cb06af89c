"""When a worker is live, and how its parts are asked."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from tests.support.waiting import wait_until
from worker.doctor import Finding
from worker.health.asking import Asked
from worker.health.life import Limits, fault
from worker.health.pulse import Beat, Pulse
from worker.health.readiness import Readiness
from worker.http.heart import Heart

LIMITS = Limits(loop=45, task=300, ending=30)
BEAT = Beat(at=1000, processes=4)


def test_a_loop_that_turns_is_live() -> None:
    assert fault(BEAT, 1045, LIMITS) is None


def test_a_loop_that_does_not_turn_is_not() -> None:
    assert fault(BEAT, 1046, LIMITS) == "the worker's loop has not turned for 46 s"


def test_a_pool_that_begins_nothing_is_not() -> None:
    beat = replace(BEAT, taken=2, waiting_since=600)
    assert fault(beat, 960, LIMITS) is None
    assert fault(replace(beat, at=961), 961, LIMITS) == (
        "the pool has begun no task for 361 s, and some wait"
    )


def test_an_ending_worker_is_live_for_as_long_as_that_may_take() -> None:
    beat = replace(BEAT, ending_since=1000)
    assert fault(beat, 1090, LIMITS) is None
    assert fault(beat, 1091, LIMITS) == "the worker has been ending for 91 s"


def test_the_pulse_is_read_as_it_was_written() -> None:
    pulse = Pulse()
    beat = Beat(1.5, 2, 3, 4, 5, 6)
    pulse.write(beat)
    assert pulse.read() == beat


def test_a_beat_while_the_worker_ends_does_not_call_it_ready_again() -> None:
    # Celery's pool turns the loop again while it ends.
    pulse = Pulse()
    heart = Heart(pulse, lambda: 4)
    heart.beat()
    assert not pulse.read().ending_since
    heart.end()
    since = pulse.read().ending_since
    heart.beat()
    heart.end()
    assert since
    assert pulse.read() == replace(pulse.read(), processes=4, ending_since=since)


def test_an_answer_is_kept_for_a_while() -> None:
    now = [0.0]
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    subject = Asked(ask, clock=lambda: now[0])
    assert subject.begin().result(10) == 1
    now[0] = 4.9
    assert subject.begin().result(10) == 1
    now[0] = 5.1
    assert subject.begin().result(10) == 2


def test_a_failure_is_an_answer_too_and_is_kept_as_long() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        raise OSError("gone")

    now = [100.0]
    subject = Asked(ask, clock=lambda: now[0])
    for moment, times in ((100.0, 1), (104.9, 1), (105.1, 2)):
        now[0] = moment
        with pytest.raises(OSError, match="gone"):
            subject.begin().result(10)
        assert len(asked) == times


def test_what_does_not_answer_is_asked_once_and_not_waited_for() -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    def hang() -> Finding:
        asked.release()
        answer.wait(30)
        return Finding("database", True, "answers")

    readiness = Readiness(
        {"broker": lambda: Finding("broker", True, "answers"), "database": hang}, seconds=0.05
    )
    for _ in range(3):
        broker, database = readiness.findings()
        assert broker.ok
        assert (database.ok, database.detail) == (False, "no answer within 0.05 s")
    assert asked.acquire(timeout=10)
    assert not asked.acquire(blocking=False)
    answer.set()
    wait_until(lambda: readiness.findings()[1].ok, "the database answers")
