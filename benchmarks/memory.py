"""Memory of client, workers and broker while one file of 1 GiB is saved and loaded."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.files import Files
from benchmarks.helper import Helper
from benchmarks.peaks import Peaks
from benchmarks.storage import Storage

_MIB = 1 << 20
_GIB = 1 << 30
#: What is saved and loaded first, so that everybody has imported and opened all they need.
_WARM_UP_SIZE = 8 * _MIB
_METRICS = {"save": "memory while saving", "load": "memory while loading"}
_ROUTES = ("direct", "Redis")


def run(bench: Bench) -> None:
    """Measure with the blob folder in the client's reach, and with all bytes through Redis.

    Once: a peak does not scatter as times do, and a gigabyte takes long.
    """
    small = Files(bench.folder / "memory-small", 1, _WARM_UP_SIZE)
    large = Files(bench.folder / "memory-large", 1, bench.size(_GIB, 32 * _MIB))
    with bench.storage("memory") as storage:
        for route in _ROUTES:
            # Contents that the blob store has would not be sent.
            small.renew()
            large.renew()
            _measure(bench, storage, route, small.paths[0], large.paths[0])


def _measure(bench: Bench, storage: Storage, route: str, small: Path, large: Path) -> None:
    broker = bench.servers.valkey.pid
    with _client(storage, route) as client:
        client.hear()
        for verb in _METRICS:
            _do(client, verb, small, storage.folder)
        for verb, metric in _METRICS.items():
            workers = storage.worker_families
            with Peaks([client.pid, broker, *itertools.chain(*workers)]) as peaks:
                _do(client, verb, large, storage.folder)
                above = peaks.above_idle
            found = {
                f"client, {route}": above[client.pid],
                f"worker, {route}": max(sum(above[pid] for pid in worker) for worker in workers),
                f"broker, {route}": above[broker],
            }
            for name, size in found.items():
                bench.note(name, {metric: [float(size)]})


def _client(storage: Storage, route: str) -> Helper:
    arguments = [
        *("-m", "benchmarks.memory_client", storage.broker_url),
        str(storage.folder / f"memory-{route}.outbox"),
        storage.artifacts_url if route == "direct" else "-",
    ]
    return Helper(arguments, storage.folder / f"memory-{route}.log")


def _do(client: Helper, verb: str, source: Path, folder: Path) -> None:
    target = folder / "loaded.bin"
    client.tell(f"{verb} {source if verb == 'save' else target}")
    client.hear()
    if verb == "load":
        assert target.stat().st_size == source.stat().st_size
        target.unlink()
