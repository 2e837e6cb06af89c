"""What every fault is made of: a generator that does harm, waits by yielding, and heals."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from tests.faults.site import Site

#: Yields seconds to wait; what it does when it is closed heals.
Steps = Generator[float, None, None]
Attack = Callable[[Site], Steps]

#: What can carry the messages.
BROKERS = ("redis", "rabbitmq")

_POLL_SECONDS = 0.05


class NotHit(Exception):
    """The harm could not be done, because the chance for it did not come."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: for options and reports.
        target: what it hurts; at most one fault hurts the same thing at a time.
        attack: does it.
        alone: whether nothing else may go wrong meanwhile.
        brokers: those with which there is such a fault.
    """

    name: str
    target: str
    attack: Attack
    alone: bool = False
    brokers: tuple[str, ...] = BROKERS


#: All kinds of faults by name.
FAULTS: dict[str, Fault] = {}


def fault(
    name: str, target: str, *, alone: bool = False, brokers: tuple[str, ...] = BROKERS
) -> Callable[[Attack], Attack]:
    """Register the decorated generator function as a fault."""

    def register(attack: Attack) -> Attack:
        FAULTS[name] = Fault(name, target, attack, alone, brokers)
        return attack

    return register


def until(condition: Callable[[], bool], seconds: float) -> Steps:
    """Wait until a condition holds; raises NotHit if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotHit
        yield _POLL_SECONDS
