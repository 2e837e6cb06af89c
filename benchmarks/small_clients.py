"""Eight client processes at once, each with one operation under way: a message per operation."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.helper import Helper
from benchmarks.peers.plain_celery import plain_celery

_CLIENTS = 8


def run(bench: Bench) -> None:
    """Measure both."""
    each = bench.size(150, 10)
    celery_url = bench.servers.broker(1)
    celery_database = bench.servers.database("celery")
    with (
        bench.storage("small_clients") as storage,
        plain_celery(bench.folder / "plain", celery_url, celery_database, workers=bench.workers),
        contextlib.ExitStack() as running,
    ):
        clients = []
        for number in range(_CLIENTS):
            outbox = storage.folder / f"small-{number}.outbox"
            arguments = ["-m", "benchmarks.small_client"]
            arguments += [storage.broker_url, str(outbox), celery_url]
            log = storage.folder / f"small-{number}.log"
            clients.append(running.enter_context(Helper(arguments, log)))
        for client in clients:
            client.hear()

        def turn(contestant: str) -> Mapping[str, Sequence[float]]:
            begin = time.perf_counter()
            for client in clients:
                client.tell(f"{contestant} {each}")
            for client in clients:
                client.hear()
            return {"single operations": [_CLIENTS * each / (time.perf_counter() - begin)]}

        bench.compare({"zdk": lambda: turn("zdk"), "celery": lambda: turn("celery")})
