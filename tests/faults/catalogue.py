"""All faults: importing the modules registers them."""

from __future__ import annotations

from tests.faults import (
    attacks_on_broker,
    attacks_on_clients,
    attacks_on_database,
    attacks_on_queue,
    attacks_on_rabbitmq,
    attacks_on_workers,
)
from tests.faults.attack import FAULTS, Fault

__all__ = ["choose"]

_MODULES = (
    attacks_on_broker,
    attacks_on_clients,
    attacks_on_database,
    attacks_on_queue,
    attacks_on_rabbitmq,
    attacks_on_workers,
)


def choose(names: str = "", broker: str = "redis") -> list[Fault]:
    """The faults of comma-separated names; all that there are with this broker, if none are named.

    Raises:
        ValueError: there is no fault of that name with this broker.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    possible = {name for name, fault in FAULTS.items() if broker in fault.brokers}
    for name in wanted:
        if name not in possible:
            raise ValueError(f"there is no fault {name!r} with {broker}; --list-faults names all")
    return [FAULTS[name] for name in wanted or sorted(possible)]
