"""Where a stack under attack is found, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.faults import mutations, orders
from tests.support.documents import ROOT


@dataclass(frozen=True)
class SiteOptions:
    """How large the stack is, and what runs on it.

    Attributes:
        seed: of the workload.
        workers, concurrency: worker processes, and pool processes of each.
        clients: client processes.
        publishers: processes that publish with plain Celery, without an outbox.
        rate: operations a second of each client.
        mix: which operations; see `tests.faults.workload`.
        drain: seconds that clients get to drain.
        mutant: the protection that is switched off, if any.
        broker: ``redis``, or ``rabbitmq`` with results in Redis.
        beside: the files of an earlier release, some of whose workers and clients take part.
    """

    seed: int = 1
    workers: int = 2
    concurrency: int = 2
    clients: int = 2
    publishers: int = 0
    rate: float = 150.0
    mix: str = "all"
    drain: float = 60.0
    mutant: str = ""
    broker: str = "redis"
    beside: Path | None = None


@dataclass
class Place:
    """What processes need to know to take part.

    Attributes:
        folder: for data, logs and histories.
        options: the stack's size.
        database_url: the database.
        url_for_clients, url_for_workers: the broker, through a proxy for each.
        results_for_clients, results_for_workers: the Redis with results, likewise.
    """

    folder: Path
    options: SiteOptions
    database_url: str = ""
    url_for_clients: str = ""
    url_for_workers: str = ""
    results_for_clients: str = ""
    results_for_workers: str = ""

    @property
    def artifacts(self) -> Path:
        """The blob store's folder."""
        return self.folder / "artifacts"

    @property
    def orders(self) -> Path:
        """The folder for orders to processes."""
        return self.folder / "orders"

    def environment(self, tree: Path = ROOT) -> dict[str, str]:
        """What workers and clients of a release are given."""
        return {
            "PYTHONPATH": str(tree),
            orders.FOLDER_VARIABLE: str(self.orders),
            mutations.VARIABLE: self.options.mutant,
        }

    def worker_tree(self, number: int, starts: int) -> Path:
        """The release of a worker's next start: of three, one is of this one, one of the earlier
        one, and one changes at each start."""
        earlier = (False, True, starts % 2 == 0)[number % 3]
        return self.options.beside if earlier and self.options.beside else ROOT

    def client_tree(self, number: int, starts: int) -> Path:
        """The release of a client's next start: of three, one is of this one, one of the earlier
        one, and one is upgraded, with its outbox, at its second start."""
        earlier = (False, True, starts == 0)[number % 3]
        return self.options.beside if earlier and self.options.beside else ROOT
