"""What is asked for when the metrics are: queues, dead letters, readiness, the pulse."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import celery
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from api_client.version import __version__
from worker.broker.queues import BrokerState
from worker.database import Database
from worker.health.asking import Asked, left_until
from worker.health.life import Limits, fault
from worker.health.pulse import Pulse
from worker.health.readiness import SECONDS, Readiness
from worker.schema import dead_letters

#: Dead letters that are counted; beyond, their number costs more than it tells.
MOST_COUNTED = 10_000


def registry_of(
    folder: Path,
    worker_pid: int,
    state: Collector,
) -> CollectorRegistry:
    """All metrics of a worker.

    Parameters:
        folder: where its processes count.
        worker_pid: of its main process.
        state: collects the rest.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    ProcessCollector(pid=lambda: worker_pid, registry=registry)
    registry.register(state)
    return registry


def count_dead_letters(database: Database) -> int:
    """How many dead letters there are, up to `MOST_COUNTED`."""
    some = select(dead_letters.c.pk).limit(MOST_COUNTED).subquery()
    with database.read.connect() as connection:
        return connection.execute(select(func.count()).select_from(some)).scalar_one()


class StateCollector(Collector):
    """Collects what is true at this moment. What cannot be asked is left out.

    Parameters:
        queues, dead: asked for what waits at the broker, and for the number of dead letters.
        readiness, pulse, limits: of the worker.
    """

    def __init__(
        self,
        queues: Asked[BrokerState],
        dead: Asked[int],
        readiness: Readiness,
        pulse: Pulse,
        limits: Limits,
    ):
        self._queues = queues
        self._dead = dead
        self._readiness = readiness
        self._pulse = pulse
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        queues, dead = self._queues.begin(), self._dead.begin()
        deadline = time.monotonic() + SECONDS
        yield from self._of_worker()
        yield from self._of_parts()
        # `zdk_part_ready` says what does not answer.
        with contextlib.suppress(Exception):
            yield from _of_broker(queues.result(left_until(deadline)))
        with contextlib.suppress(Exception):
            meaning = f"Dead letters that are kept, counted up to {MOST_COUNTED}."
            yield _gauge("dead_letters", meaning, dead.result(left_until(deadline)))

    def _of_worker(self) -> Iterator[Metric]:
        beat, now = self._pulse.read(), time.monotonic()
        live = fault(beat, now, self._limits) is None
        yield _labelled(
            "worker_info",
            "Which release this is.",
            ("version", "celery", "python"),
            [((__version__, celery.__version__, platform.python_version()), 1)],
        )
        yield _gauge("live", "Whether the loop turns and the pool takes work.", live)
        yield _gauge("loop_age_seconds", "Since the loop turned last.", max(0.0, now - beat.at))
        yield _gauge("ending", "Whether the worker is ending.", bool(beat.ending_since))
        yield _gauge("pool_processes", "Processes of the pool.", beat.processes)
        yield _gauge("pool_busy", "Tasks that they are doing.", beat.busy)
        yield _gauge("pool_taken", "Tasks taken in advance.", beat.taken)

    def _of_parts(self) -> Iterator[Metric]:
        found = self._readiness.findings()
        yield _labelled(
            "part_ready",
            "Whether a part that the worker needs answers.",
            ("part",),
            [((finding.name.replace(" ", "_"),), bool(finding.ok)) for finding in found],
        )
        ready = all(finding.ok for finding in found) and not self._pulse.read().ending_since
        yield _gauge("ready", "Whether all parts answer, and the worker is not ending.", ready)


def _of_broker(state: BrokerState) -> Iterator[Metric]:
    name = ("queue",)
    yield _labelled(
        "queue_messages",
        "Messages that wait.",
        name,
        [((queue.name,), queue.depth) for queue in state.queues],
    )
    ages = [(queue, queue.oldest if queue.depth else 0.0) for queue in state.queues]
    yield _labelled(
        "queue_oldest_seconds",
        "Age of the oldest message that waits; 0 if none does.",
        name,
        [((queue.name,), age) for queue, age in ages if age is not None],
    )
    if state.unacknowledged is not None:
        yield _gauge(
            "unacknowledged_messages",
            "Messages that workers have and have not finished.",
            state.unacknowledged.count,
        )
        yield _gauge(
            "unacknowledged_oldest_seconds",
            "Since the first of them was delivered; 0 if there is none.",
            state.unacknowledged.oldest or 0.0,
        )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"zdk_{name}", meaning, value=float(value))


def _labelled(
    name: str,
    meaning: str,
    labels: Sequence[str],
    values: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    family = GaugeMetricFamily(f"zdk_{name}", meaning, labels=labels)
    for of, value in values:
        family.add_metric(of, float(value))
    return family
