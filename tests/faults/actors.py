"""The processes of a stack under attack: workers, clients, plain publishers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from tests.faults import patches
from tests.faults.orders import DRAINED
from tests.faults.place import Place
from tests.faults.processes import Supervised
from worker.embedded.server import wait_until_ready

#: Seconds that a worker may take to start.
_START_SECONDS = 60.0
#: Short times, so that what they end ends within a run.
_WORKER_SETTINGS = {
    "ZDK_TIME_LIMIT": "15",
    "ZDK_SHUTDOWN_GRACE": "6",
    "ZDK_PATIENCE": "5",
    "ZDK_STATEMENT_TIMEOUT": "6",
    "ZDK_LOCK_TIMEOUT": "2",
    "ZDK_CONNECT_TIMEOUT": "2",
    "ZDK_POOL_TIMEOUT": "3",
    # The audit looks for every dead letter of the run.
    "ZDK_DEAD_LETTERS": "1000000",
    "ZDK_DEAD_LETTER_BYTES": str(2**50),
}


class ChaosWorker(Supervised):
    """A patched ``zdk worker``.

    Parameters:
        place: whose queues it serves.
    """

    def __init__(self, place: Place, name: str):
        super().__init__(name, place.folder)
        self._place = place
        self._number = int(name[1:])
        #: Seconds by which the clock of the next start is wrong.
        self.clock = 0.0

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """See `Supervised.command`."""
        options = [f"--concurrency={self._place.options.concurrency}", "--loglevel=INFO"]
        return [sys.executable, "-m", "tests.faults.worker_process", *options], {
            **self._place.environment(self._place.worker_tree(self._number, self.starts)),
            **_WORKER_SETTINGS,
            "ZDK_BROKER_URL": self._place.url_for_workers,
            "ZDK_RESULT_URL": self._place.results_for_workers,
            "ZDK_DATABASE_URL": self._place.database_url,
            "ZDK_ARTIFACTS_URL": self._place.artifacts.as_uri(),
            patches.NAME_VARIABLE: self.name,
            patches.CLOCK_VARIABLE: str(self.clock),
        }

    def start_ready(self) -> None:
        """Start it for the first time, and wait until it takes messages.

        Raises:
            EmbeddedStartFailed: it does not; the message ends its log.
        """
        child = self.start()
        wait_until_ready(
            self.name,
            child,
            lambda: b" ready.\n" in self.log.read_bytes(),
            timeout=_START_SECONDS,
            log=self.log,
        )


class ChaosClient(Supervised):
    """A client process, each life of which goes on with the outbox of the last.

    Parameters:
        place: whose broker it uses.
    """

    def __init__(self, place: Place, name: str):
        super().__init__(name, place.folder)
        self._place = place
        self._number = int(name[1:])
        self.history = place.folder / f"{name}.history"
        self._reaches_blobs = name.endswith("1")

    @property
    def lost(self) -> bool:
        """Whether it has ended before it had drained."""
        return self.finished() not in (None, *DRAINED)

    def supervise(self) -> None:
        """See `Supervised.supervise`; one that has drained, or given that up, stays ended."""
        if self.finished() not in DRAINED:
            super().supervise()

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """See `Supervised.command`."""
        options = {
            "name": self.name,
            "life": str(self.starts),
            "seed": str(self._place.options.seed),
            "mix": self._place.options.mix,
            "rate": str(self._place.options.rate),
            "broker": self._place.url_for_clients,
            # Large bytes go both ways: through Redis, and straight into the blob store.
            "artifacts": self._place.artifacts.as_uri() if self._reaches_blobs else "",
            "outbox": str(self._place.folder / f"{self.name}.outbox"),
            "history": str(self.history),
            "drain": str(self._place.options.drain),
        }
        if self._place.options.broker != "redis":
            # Clients of earlier releases do not know it.
            options["results"] = self._place.results_for_clients
        arguments = [f"--{name}={value}" for name, value in options.items()]
        environment = self._place.environment(self._place.client_tree(self._number, self.starts))
        return [sys.executable, "-m", "tests.faults.client", *arguments], environment


class PlainClient(ChaosClient):
    """A publisher without our client, which nobody may kill: it has no outbox to go on with."""

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """See `Supervised.command`."""
        options = {
            "name": self.name,
            "life": str(self.starts),
            "rate": str(self._place.options.rate),
            "broker": self._place.url_for_clients,
            "history": str(self.history),
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "tests.faults.plain_client", *arguments]
        return command, self._place.environment()
