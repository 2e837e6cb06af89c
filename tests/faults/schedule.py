"""The seeded scheduler: which fault begins when, and that each one ends."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg2
from redis.exceptions import RedisError

from tests.faults.attack import Fault, NotHit, Steps
from tests.faults.site import Site

log = logging.getLogger(__name__)

_TICK = 0.05
#: Faults that go on at a time.
_AT_ONCE = 3
#: What a fault meets when another one has been faster.
_DISTURBED = (NotHit, RedisError, psycopg2.Error, ProcessLookupError)


@dataclass
class _Running:
    fault: Fault
    steps: Steps
    due: float


@dataclass
class Scheduler:
    """Injects faults into a site until the time is up, then heals.

    Kinds are dealt like cards, so that each has its turn before one comes up again, unless all
    that are left hurt what is being hurt already.

    Parameters:
        site: what to attack.
        faults: the kinds to choose from.
        seed: decides kinds and times.
        pause: mean seconds between two faults.
    """

    site: Site
    faults: Sequence[Fault]
    seed: int
    pause: float = 1.5
    #: How many were injected, and how many could not be, by name.
    injected: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._deck: list[Fault] = []
        self._running: list[_Running] = []
        self._next = 0.0

    def run(
        self,
        seconds: float,
        on_tick: Callable[[float], None] = lambda _: None,
        *,
        each_once: bool = False,
    ) -> None:
        """Inject for ``seconds``, then end all faults.

        Parameters:
            on_tick: called again and again with the seconds that are left.
            each_once: end as soon as every kind has been tried.
        """
        end = time.monotonic() + seconds
        self._next = time.monotonic()
        try:
            while (now := time.monotonic()) < end:
                if now >= self._next:
                    self._begin(now)
                self._advance(now)
                self.site.supervise()
                on_tick(end - now)
                if each_once and self._all_tried():
                    break
                # The pace of the schedule; nothing is waited for.
                time.sleep(_TICK)
        finally:
            self.heal()

    def heal(self) -> None:
        """End all faults that go on."""
        for running in [*self._running]:
            self._close(running)
            self._ended(running, self.injected)

    def going_on(self) -> list[str]:
        """The names of the faults that go on."""
        return [running.fault.name for running in self._running]

    def _all_tried(self) -> bool:
        tried = self.injected.keys() | self.missed.keys()
        return not self._running and tried >= {fault.name for fault in self.faults}

    def _begin(self, now: float) -> None:
        chosen = self._choose()
        if chosen is None:
            return
        self._deck.remove(chosen)
        self._running.append(_Running(chosen, chosen.attack(self.site), now))
        self._next = now + self._dice.uniform(0.2, 2 * self.pause)
        log.info("begin %s", chosen.name)

    def _choose(self) -> Fault | None:
        """The next kind that may begin beside those that go on."""
        if len(self._running) >= _AT_ONCE or any(r.fault.alone for r in self._running):
            return None
        busy = {running.fault.target for running in self._running}
        if self._deck and self._deck[0].alone:
            # Nothing else may begin before it, or its turn would never come.
            return None if busy else self._deck[0]
        free = (f for f in self._deck if f.target not in busy and not f.alone)
        chosen = next(free, None)
        if chosen is None and len(self._deck) < len(self.faults):
            # What is left must wait for its target; the others go round again meanwhile.
            self._deck += self._dice.sample(self.faults, len(self.faults))
        return chosen

    def _advance(self, now: float) -> None:
        for running in [r for r in self._running if r.due <= now]:
            try:
                running.due = time.monotonic() + next(running.steps)
            except StopIteration:
                self._ended(running, self.injected)
            except _DISTURBED as error:
                log.info("%s was not possible: %r", running.fault.name, error)
                self._close(running)
                self._ended(running, self.missed)

    def _ended(self, running: _Running, count: Counter[str]) -> None:
        log.info("end %s", running.fault.name)
        count[running.fault.name] += 1
        self._running.remove(running)

    def _close(self, running: _Running) -> None:
        with contextlib.suppress(*_DISTURBED):
            running.steps.close()
