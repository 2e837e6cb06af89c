"""All faults: importing the modules registers them."""

from __future__ import annotations

from tests.faults import (
    attacks_on_broker,
    attacks_on_clients,
    attacks_on_database,
    attacks_on_queue,
    attacks_on_workers,
)
from tests.faults.attack import FAULTS, Fault

__all__ = ["choose"]

_MODULES = (
    attacks_on_broker,
    attacks_on_clients,
    attacks_on_database,
    attacks_on_queue,
    attacks_on_workers,
)


def choose(names: str = "") -> list[Fault]:
    """The faults of comma-separated names; all if there are none.

    Raises:
        ValueError: there is no fault of that name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; --list-faults names all")
    return [FAULTS[name] for name in wanted or sorted(FAULTS)]
