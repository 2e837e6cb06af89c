"""Thousands of schedules of outbox, queue and ledger, in which everything may go wrong."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from api_client.outbox.schedule import Schedule
from tests.simulation import client
from tests.simulation.broker import Store
from tests.simulation.check import Violation
from tests.simulation.world import World

#: ``make simulate SCHEDULES=100000`` sets it.
SCHEDULES = int(os.environ.get("ZDK_SCHEDULES", "10000"))
#: Parts that run side by side.
_PARTS = 4
_BYTES = 160


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # What goes wrong here is not worth a line in a log, and ten thousand times that takes long.
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(_PARTS))
def test_nothing_is_lost_doubled_or_reordered(part: int) -> None:
    @settings(
        max_examples=SCHEDULES // _PARTS,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=_BYTES, max_size=_BYTES))
    def run(source: bytes) -> None:
        note(f"run it again: make simulate REPLAY={source.hex()}")
        World(source).run()

    run()


def test_replay() -> None:
    """The schedule of ``make simulate REPLAY=<hex>``; without one, the tamest there is."""
    World(bytes.fromhex(os.environ.get("ZDK_REPLAY") or "00" * _BYTES)).run()


def found_by(schedules: int = 3000) -> str:
    """What goes wrong in some schedule."""
    found: list[str] = []

    @settings(
        max_examples=schedules,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=_BYTES, max_size=_BYTES))
    def run(source: bytes) -> None:
        World(source).run()

    try:
        run()
    except Violation as violation:
        found.append(str(violation))
    return found[0] if found else ""


def test_without_the_ledger_something_is_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Store.apply

    def forgetful(self: Store, message: object) -> object:
        self.entries.clear()
        # Event ids would hide it: they are remembered as well.
        self.events = []
        for row in self.rows.values():
            row.last_seq = 0
        return apply(self, message)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "apply", forgetful)
    assert "doubled" in (found := found_by()) or "applied and failed" in found


def test_without_stop_and_wait_something_is_reordered(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without ordering keys nothing waits for anything.
    monkeypatch.setattr(client, "ordering_keys", lambda *_: frozenset())
    assert "reordered" in (found := found_by()) or "misses" in found


def test_without_resending_something_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Schedule.sent

    def for_ever(self: Schedule, message_id: str, now: float) -> None:
        sent(self, message_id, now)
        for dispatch in self.on_way():
            dispatch.due = float("inf")

    monkeypatch.setattr(Schedule, "sent", for_ever)
    assert "never ended" in found_by()
