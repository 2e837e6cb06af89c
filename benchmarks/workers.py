"""Events applied per second by the number of pool processes on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.bench import Bench
from benchmarks.payloads import events
from benchmarks.throughput import append_all, create_sessions

_COUNTS = (1, 2, 4, 8)


def run(bench: Bench) -> None:
    """Measure one worker with each number of pool processes."""
    counts = _COUNTS[:2] if bench.quick else _COUNTS
    amount = bench.size(20_000, 2_000)
    bench.compare(
        {f"zdk with {count}": partial(_turn, bench, count, amount) for count in counts},
        rounds=min(bench.rounds, 3),
        warm_up=False,
    )


def _turn(bench: Bench, count: int, amount: int) -> Mapping[str, Sequence[float]]:
    """Start the worker anew, in an empty database."""
    with (
        bench.storage(f"workers-{count}", workers=1, concurrency=count) as storage,
        storage.client() as client,
    ):
        keys = create_sessions(client)
        append_all(client, keys, events(amount // 4))
        return {"applied events by workers": [append_all(client, keys, events(amount))]}
