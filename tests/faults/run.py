"""One run: start the stack, attack it, heal it, drain it, audit it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.attack import Fault
from tests.faults.checkers import Evidence, audit
from tests.faults.history import History, read_history
from tests.faults.place import SiteOptions
from tests.faults.schedule import Scheduler
from tests.faults.site import Site
from tests.faults.snapshot import take_snapshot

#: Seconds for late copies to be taken, and for the unacknowledged to be taken again.
_QUIET_SECONDS = 60.0


@dataclass
class Result:
    """What a run has shown.

    Attributes:
        injected, missed: faults by name.
        counts: operations by what became of them.
        violations: by checker.
        drain_seconds: from healing to nothing pending; None if it took too long.
    """

    seed: int
    seconds: float
    injected: Counter[str]
    missed: Counter[str]
    counts: dict[str, int]
    violations: dict[str, list[str]]
    drain_seconds: float | None
    quiet: bool
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.violations.values())

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "faults": sum(self.injected.values()),
            "injected": dict(sorted(self.injected.items())),
            "missed": dict(sorted(self.missed.items())),
            "operations": self.counts,
            "drain_seconds": self.drain_seconds,
            "quiet": self.quiet,
            "restarts": self.restarts,
            "violations": self.violations,
            "passed": self.passed,
        }


#: Called with the seconds left, the scheduler and the site.
OnProgress = Callable[[float, Scheduler, Site], None]


def run(
    folder: Path,
    options: SiteOptions,
    faults: Sequence[Fault],
    seconds: float,
    *,
    pause: float = 1.5,
    each_once: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> Result:
    """Attack a stack of its own for ``seconds``, and audit what it has done.

    Parameters:
        folder: for data, logs and histories.
        options: the stack's size and the seed.
        faults: the kinds to inject.
        pause: mean seconds between two faults.
        each_once: end the attack as soon as every kind has been tried.
        on_progress: called again and again.
    """
    begun = time.monotonic()
    with logged(folder / "faults.log"), Site(folder, options) as site:
        scheduler = Scheduler(site, faults, options.seed, pause)
        scheduler.run(seconds, lambda left: on_progress(left, scheduler, site), each_once=each_once)
        drain_seconds = site.drained(options.drain)
        quiet = site.quiet(_QUIET_SECONDS if drain_seconds is not None else 0.0)
        with contextlib.closing(site.connect()) as connection:
            snapshot = take_snapshot(connection, site.place.artifacts)
        history = read_history(client.history for client in site.issuers)
        evidence = Evidence(
            history,
            snapshot,
            site.garbage,
            [*site.complaints, *site.own_ends()],
            drained=drain_seconds is not None,
        )
        return Result(
            seed=options.seed,
            seconds=time.monotonic() - begun,
            injected=scheduler.injected,
            missed=scheduler.missed,
            counts=count(history),
            violations=audit(evidence),
            drain_seconds=None if drain_seconds is None else round(drain_seconds, 1),
            quiet=quiet,
            restarts={process.name: process.starts for process in site.processes},
        )


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Have what the harness does written to a file, to be read beside the processes' logs."""
    logger = logging.getLogger("tests.faults")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def count(history: History) -> dict[str, int]:
    """Operations by what became of them."""
    records = history.records.values()
    known = [r for r in records if r.applied or r.failed is not None or r.refused]
    return {
        "invoked": len(records),
        "accepted": sum(record.accepted for record in records),
        "applied": sum(record.applied for record in records),
        "failed": sum(record.failed is not None for record in records),
        "refused": sum(record.refused for record in records),
        "unknown": len(records) - len(known),
        "unwatched": sum(not record.operation.watched for record in records),
    }
