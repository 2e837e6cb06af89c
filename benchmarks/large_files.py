"""Storing files of 4 MB."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.files import Files
from benchmarks.ingest import fresh, save_all
from benchmarks.peers.disk import write_and_fsync

_SIZE = 4 * 1024 * 1024


def run(bench: Bench) -> None:
    """Measure all contestants."""
    files = Files(bench.folder / "large", bench.size(64, 4), _SIZE)
    copies = bench.folder / "large copies"
    with (
        bench.storage("large_files") as storage,
        storage.client(reaches_blobs=True) as direct,
        storage.client() as through_redis,
    ):

        def timed(store: Callable[[], object]) -> Mapping[str, Sequence[float]]:
            files.renew()
            begin = time.perf_counter()
            store()
            return {"large files": [files.total / (time.perf_counter() - begin)]}

        bench.compare(
            {
                "zdk": lambda: timed(lambda: save_all(direct, files.paths)),
                "zdk, through Redis": lambda: timed(lambda: save_all(through_redis, files.paths)),
                "fsync": lambda: timed(lambda: write_and_fsync(files.paths, fresh(copies))),
            }
        )
