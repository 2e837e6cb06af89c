"""What a worker's endpoint answers, and the loop that it is told of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from worker.broker.queues import BrokerState, QueueState, UnacknowledgedState
from worker.doctor import Finding
from worker.health.asking import Asked
from worker.health.life import Limits
from worker.health.pulse import Beat, Pulse
from worker.health.readiness import Readiness
from worker.http import heart, server
from worker.http.answers import Answers
from worker.http.heart import Heart
from worker.metrics.collectors import StateCollector

LIMITS = Limits(loop=45, task=300, ending=30)
BROKER = BrokerState(
    [QueueState("storage.write", 12, 3.5), QueueState("storage.read", 0, 9.0)],
    UnacknowledgedState(8, 0.5),
)


def gone() -> Any:
    raise OSError("gone")


@dataclass
class Subject:
    """A worker's endpoint without a worker. ``database`` says whether that answers."""

    database: bool = True
    broker: Callable[[], BrokerState] = lambda: BROKER
    pulse: Pulse = field(default_factory=Pulse)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        readiness = Readiness(
            {
                "broker": lambda: Finding("broker", True, "answers"),
                "blob store": lambda: Finding("blob store", self.database, "tried"),
            }
        )
        self.registry.register(
            StateCollector(Asked(self.broker), Asked(lambda: 7), readiness, self.pulse, LIMITS)
        )
        self._answers = Answers(self.pulse, LIMITS, readiness, self.registry)

    def ask(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        status: list[str] = []
        body = self._answers({"PATH_INFO": path}, lambda line, headers: status.append(line))
        return int(status[0].split()[0]), b"".join(body)

    def json(self, path: str) -> tuple[int, bool, str]:
        """Status, and what the body says."""
        status, body = self.ask(path)
        found = msgspec.json.decode(body)
        return status, found["ok"], found["detail"]

    def values(self) -> dict[str, float]:
        """What Prometheus is told, by name and labels."""
        return {
            " ".join([sample.name.removeprefix("zdk_"), *sample.labels.values()]): sample.value
            for family in self.registry.collect()
            for sample in family.samples
        }


def test_all_is_well() -> None:
    subject = Subject()
    subject.pulse.write(Beat(time.monotonic(), processes=4, busy=3, taken=2))
    assert subject.json("/live") == (200, True, "")
    assert subject.json("/ready") == (200, True, "")
    values = subject.values()
    age = values.pop("loop_age_seconds")
    assert 0 <= age < LIMITS.loop
    assert {
        name: value for name, value in values.items() if not name.startswith("worker_info")
    } == {
        "live": 1,
        "ending": 0,
        "ready": 1,
        "pool_processes": 4,
        "pool_busy": 3,
        "pool_taken": 2,
        "part_ready broker": 1,
        "part_ready blob_store": 1,
        "queue_messages storage.write": 12,
        "queue_messages storage.read": 0,
        "queue_oldest_seconds storage.write": 3.5,
        # Nothing waits there.
        "queue_oldest_seconds storage.read": 0,
        "unacknowledged_messages": 8,
        "unacknowledged_oldest_seconds": 0.5,
        "dead_letters": 7,
    }


def test_a_part_that_fails() -> None:
    subject = Subject(database=False)
    assert subject.json("/live") == (200, True, "")
    assert subject.json("/ready") == (503, False, "not ready: blob store")
    values = subject.values()
    assert (values["ready"], values["part_ready blob_store"], values["live"]) == (0, 0, 1)


def test_a_loop_that_hangs() -> None:
    subject = Subject()
    subject.pulse.write(Beat(time.monotonic() - 100))
    for path in ("/live", "/ready"):
        status, ok, detail = subject.json(path)
        assert (status, ok) == (503, False)
        assert detail.startswith("the worker's loop has not turned for 10")
    values = subject.values()
    assert values["live"] == 0
    assert values["loop_age_seconds"] >= 100


def test_a_worker_that_is_ending() -> None:
    subject = Subject()
    subject.pulse.write(Beat(time.monotonic(), ending_since=time.monotonic()))
    assert subject.json("/live") == (200, True, "")
    assert subject.json("/ready") == (503, False, "the worker is ending")
    values = subject.values()
    assert (values["live"], values["ready"], values["ending"]) == (1, 0, 1)


def test_what_cannot_be_asked_is_left_out() -> None:
    values = Subject(broker=gone).values()
    assert not [name for name in values if name.startswith(("queue", "unacknowledged"))]
    assert values["dead_letters"] == 7


def test_other_paths() -> None:
    assert Subject().ask("/")[0] == 404


def test_it_ends_where_the_kernel_does_not_tell_that_the_worker_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    subject = server._Server.__new__(server._Server)
    for parent in (os.getppid(), -1):
        subject.parent = parent
        subject.service_actions()
    assert ended == [0]


def test_the_heart_tells_what_the_pool_does(monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(active_requests={1}, reserved_requests={1, 2, 3}, all_total_count=[5])
    monkeypatch.setattr(heart, "state", state)
    pulse = Pulse()
    subject = Heart(pulse, lambda: 4)
    before = time.monotonic()
    subject.beat()
    first = pulse.read()
    assert (first.processes, first.busy, first.taken) == (4, 1, 2)
    assert first.at >= before
    # Since nothing was begun, it goes on to be the same moment,
    subject.beat()
    assert pulse.read().waiting_since == first.waiting_since >= before
    # until something is,
    state.all_total_count = [6]
    subject.beat()
    assert pulse.read().waiting_since > first.waiting_since
    # or nothing waits any more.
    state.reserved_requests = {1}
    subject.beat()
    assert (pulse.read().taken, pulse.read().waiting_since) == (0, 0)
    subject.end()
    assert pulse.read().ending_since >= first.at
