"""A worker's beat while it begins, works and ends."""

from __future__ import annotations

from types import SimpleNamespace

from worker.presence.beats import Presence
from worker.presence.tally import Tally


def test_a_worker_whose_pool_has_gone_still_beats() -> None:
    consumer = SimpleNamespace(hostname="w@host", pool=SimpleNamespace(num_processes=3))
    presence = Presence("redis://127.0.0.1:1/0", Tally(), consumer)
    assert presence._look().processes == 3
    consumer.pool = None
    assert presence._look().processes == 3
    presence._redis.close()
