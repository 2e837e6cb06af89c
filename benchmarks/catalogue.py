"""The benchmarks by name. Each is a module with a function ``run(bench)``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.bench import Bench

#: What each measures, in the order in which they run.
BENCHMARKS = {
    "throughput": "events applied per second, beside ADK, LangGraph and COPY",
    "latency": "until accepted and until applied, beside ADK's append and a Celery echo",
    "load": "a session of 2,000 events and its last 20, beside ADK and openai-agents",
    "adapters": "ADK's events through our adapter, beside ADK's own service",
    "growth": "append and load at 0 to 20,000 events in the session, beside ADK",
    "listing": "a page of 50 out of 100,000 sessions, beside ADK's list of 5,000",
    "small_clients": "8 processes with one operation each, beside one Celery task per event",
    "ingest": "2,000 files of 64 KB, beside ADK's FileArtifactService and syncfs",
    "large_files": "files of 4 MB, beside write and fsync",
    "memory": "client, workers and broker while 1 GiB is saved and loaded",
    "client_import": "seconds and memory of importing the client",
    "workers": "events applied per second with 1, 2, 4 and 8 pool processes",
}


def load_benchmark(name: str) -> Callable[[Bench], None]:
    """The function of one; its peers are imported only now."""
    run: Callable[[Bench], None] = import_module(f"benchmarks.{name}").run
    return run
