"""This project as its users run it: a migrated database, workers, clients."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

from api_client import StorageClient
from api_client.contract.records import new_id
from benchmarks.processes import running_workers
from benchmarks.servers import Servers
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade

_WAIT_SECONDS = 300.0


@dataclass
class Storage:
    """Stores and a broker with workers.

    Attributes:
        folder: for outboxes, logs and blobs.
        environment: what clients, workers and the ``zdk`` command need.
        worker_pids: the workers' process ids.
    """

    folder: Path
    environment: dict[str, str]
    worker_pids: list[int] = field(default_factory=list)

    @property
    def broker_url(self) -> str:
        """The broker, which holds the results too."""
        return self.environment["ZDK_BROKER_URL"]

    @property
    def database_url(self) -> str:
        """The database."""
        return self.environment["ZDK_DATABASE_URL"]

    @property
    def artifacts_url(self) -> str:
        """The blob folder."""
        return self.environment["ZDK_ARTIFACTS_URL"]

    @property
    def worker_families(self) -> list[list[int]]:
        """Of each worker, its own process id and those of its pool."""
        workers = [psutil.Process(pid) for pid in self.worker_pids]
        return [[own.pid, *(x.pid for x in own.children(recursive=True))] for own in workers]

    def client(self, *, reaches_blobs: bool = False) -> StorageClient:
        """A client with an outbox file of its own, which the caller closes.

        Parameters:
            reaches_blobs: whether it is told where the workers' blob folder is.
        """
        return StorageClient(
            self.broker_url,
            self.folder / f"{new_id()}.outbox",
            artifacts_url=self.artifacts_url if reaches_blobs else None,
            wait_timeout=_WAIT_SECONDS,
            read_timeout=_WAIT_SECONDS,
        )


@contextmanager
def open_storage(
    servers: Servers, folder: Path, *, workers: int, concurrency: int
) -> Iterator[Storage]:
    """An empty database, an empty broker, a blob folder, and workers with no settings but where
    these are. One at a time.

    Parameters:
        servers: see `Servers`.
        folder: see `Storage`; created.
        workers, concurrency: how many worker processes, and pool processes in each.
    """
    broker_url = servers.broker(0)
    environment = {
        "ZDK_BROKER_URL": broker_url,
        "ZDK_RESULT_URL": broker_url,
        "ZDK_DATABASE_URL": servers.database("zdk"),
        "ZDK_ARTIFACTS_URL": f"file://{folder / 'artifacts'}",
    }
    storage = Storage(folder, environment)
    _migrate(storage.database_url)
    # As `zdk up` starts them. A folder is not a place to look for packages in.
    command = [sys.executable, "-m", "api_client", "worker", f"--concurrency={concurrency}"]
    own = {**environment, "PYTHONSAFEPATH": "1"}
    with running_workers([command] * workers, own, folder) as pids:
        storage.worker_pids = pids
        yield storage


def _migrate(database_url: str) -> None:
    database = Database(DatabaseOptions(database_url))
    try:
        upgrade(database)
    finally:
        database.close()
