"""What all workers together do. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.presence.beats import Beat, SeenWorker
from worker.presence.tally import Counts, quantile


class Rates(msgspec.Struct, frozen=True):
    """How much is done in a second."""

    messages: float = 0.0
    operations: float = 0.0
    failures: float = 0.0
    queries: float = 0.0

    def __add__(self, other: Rates) -> Rates:
        """Both together."""
        return Rates(
            self.messages + other.messages,
            self.operations + other.operations,
            self.failures + other.failures,
            self.queries + other.queries,
        )


class Totals(msgspec.Struct, frozen=True):
    """All workers that are alive, over the seconds before their last beats.

    Attributes:
        alive: how many.
        processes, busy: of their pools.
        rates: of all of them.
        wait_p50, wait_p95: seconds from the issue of a message to its commit, at most, for half and
            for 95 % of them; None if there were none.
        apply_p50, apply_p95: seconds for applying messages that came together, likewise.
    """

    alive: int
    processes: int
    busy: int
    rates: Rates
    wait_p50: float | None
    wait_p95: float | None
    apply_p50: float | None
    apply_p95: float | None


class WorkerLook(msgspec.Struct, frozen=True):
    """A worker, as its last beat showed it.

    Attributes:
        name, host, pid, version, processes, busy, stopping, uptime: as in
            `worker.presence.beats.Beat`.
        silent: seconds since then.
        alive: whether it has not missed two beats.
        rates: over the seconds before its last beat.
    """

    name: str
    host: str
    pid: int
    version: str
    processes: int
    busy: int
    stopping: bool
    uptime: float
    silent: float
    alive: bool
    rates: Rates


def look_of(worker: SeenWorker) -> WorkerLook:
    """A worker as it is shown."""
    beat = worker.beat
    return WorkerLook(
        name=beat.name,
        host=beat.host,
        pid=beat.pid,
        version=beat.version,
        processes=beat.processes,
        busy=beat.busy,
        stopping=beat.stopping,
        uptime=beat.uptime,
        silent=worker.silent,
        alive=worker.alive,
        rates=_rates_of(beat),
    )


def totals_of(workers: Iterable[SeenWorker]) -> Totals:
    """What those of ``workers`` do that are alive."""
    beats = [worker.beat for worker in workers if worker.alive]
    recent = sum((beat.recent for beat in beats), Counts())
    return Totals(
        alive=len(beats),
        processes=sum(beat.processes for beat in beats),
        busy=sum(beat.busy for beat in beats),
        rates=sum(map(_rates_of, beats), Rates()),
        wait_p50=quantile(recent.wait, 0.5),
        wait_p95=quantile(recent.wait, 0.95),
        apply_p50=quantile(recent.apply, 0.5),
        apply_p95=quantile(recent.apply, 0.95),
    )


def _rates_of(beat: Beat) -> Rates:
    recent = beat.recent
    # The first beat comes at once, and tells of nothing.
    seconds = max(beat.seconds, 1.0)
    return Rates(
        recent.messages / seconds,
        recent.operations / seconds,
        recent.failures / seconds,
        recent.queries / seconds,
    )
