"""Which facts about a Redis are risks, where no server can easily be brought there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from worker.safety.facts import RedisFacts, facts_of
from worker.safety.rules import risks

GIB = 1 << 30
SAFE = RedisFacts("run", (7, 2, 4), machine=8 * GIB, used=GIB)


def named(facts: RedisFacts, *, holds_queues: bool = True) -> dict[str, str]:
    return {risk.setting: risk.value for risk in risks(facts, holds_queues=holds_queues)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"version": (6, 0, 16)}, {"redis_version": "6.0.16"}),
        ({"version": (6, 2)}, {}),
        # What tells no version is not taken for an old one.
        ({"version": ()}, {}),
        ({"used": 4 * GIB + 1}, {"maxmemory": "0 (no limit)"}),
        ({"used": 4 * GIB}, {}),
        ({"used": 7 * GIB, "most": 7 * GIB}, {}),
        ({"aof_failing": True}, {"aof_last_write_status": "err"}),
        ({"save_failing": True, "saves": "3600 1"}, {"rdb_last_bgsave_status": "err"}),
        ({"save_failing": True, "saves": ""}, {}),
        ({"save_failing": True, "saves": "3600 1", "stops_on_failed_save": False}, {}),
    ],
)
def test_risks(changes: Mapping[str, Any], expected: dict[str, str]) -> None:
    facts = replace(SAFE, **changes)
    assert named(facts) == expected
    # Whoever cannot write cannot keep results either.
    assert named(facts, holds_queues=False) == expected


def test_facts_that_a_server_tells() -> None:
    info = {
        "redis_version": "7.2.4",
        "aof_enabled": 1,
        "aof_last_write_status": "err",
        "rdb_last_bgsave_status": "err",
        "used_memory": 5,
        "total_system_memory": 7,
    }
    found = facts_of(info, {"save": "3600 1", "stop-writes-on-bgsave-error": "no"})
    assert (found.version, found.used, found.machine) == ((7, 2, 4), 5, 7)
    assert (found.aof, found.aof_failing, found.save_failing) == (True, True, True)
    assert (found.saves, found.stops_on_failed_save) == ("3600 1", False)
