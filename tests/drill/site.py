"""Everything that the drill starts, destroys and starts again."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.drill.account import Told
from tests.support.documents import ROOT
from tests.support.postgres import PostgresServer
from tests.support.programs import clean_environment, run_zdk
from tests.support.workers import WorkerProcess
from worker.embedded.child import kill_child, start_child
from worker.embedded.valkey import EmbeddedValkey

_CLIENTS = 3
_WORKERS = 2
_SECONDS = 90.0
_END_SECONDS = 120.0
_POLL_SECONDS = 0.05


class Site:
    """Database, broker, workers and clients.

    Parameters:
        folder: for all of it.
        pg_bin: of PostgreSQL's programs.

    Attributes:
        names: the clients'.
    """

    def __init__(self, folder: Path, pg_bin: Path):
        self.folder = folder
        self.pg_bin = pg_bin
        self.names = [f"c{number}" for number in range(_CLIENTS)]
        self.postgres = PostgresServer(folder / "postgres")
        self.valkey = EmbeddedValkey(folder / "valkey")
        self.artifacts = folder / "artifacts"
        self._workers: list[WorkerProcess] = []
        self._clients: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """The database's."""
        return self.postgres.url("drill")

    @property
    def told(self) -> Told:
        """What the clients have been told so far."""
        return Told(self.folder, self.names)

    def zdk(self, *words: str) -> str:
        """Run a command as an operator does; return what it prints."""
        environment = {
            "ZDK_DATABASE_URL": self.url,
            "ZDK_ARTIFACTS_URL": self.artifacts.as_uri(),
            "ZDK_BROKER_URL": self.valkey.url,
            "PYTHONPATH": str(ROOT),
        }
        done = run_zdk(*words, environment=environment, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"zdk {' '.join(words)}: {done.returncode}\n{done.stderr}")
        return done.stdout.strip()

    def start_workers(self) -> None:
        """Start workers, and wait until they take messages."""
        for number in range(_WORKERS):
            worker = WorkerProcess(
                self.folder / f"worker-{number}",
                broker_url=self.valkey.url,
                database_url=self.url,
                artifacts_url=self.artifacts.as_uri(),
                concurrency=1,
            )
            worker.start()
            self._workers.append(worker)

    def start_clients(self) -> None:
        """Start clients, which issue operations from now on."""
        for name in self.names:
            options = (f"--name={name}", f"--broker={self.valkey.url}", f"--folder={self.folder}")
            with (self.folder / f"{name}.log").open("ab") as log:
                child = start_child(
                    [sys.executable, "-m", "tests.drill.client", *options],
                    env=clean_environment({"PYTHONPATH": str(ROOT)}),
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                )
            self._clients.append(child)

    def wait_for(self, what: str, more: int) -> Told:
        """Wait until each client has so many more operations ``accepted`` or ``applied``."""
        goal = self.told.least(what) + more
        self._wait(lambda: self.told.least(what) >= goal, f"{more} more are {what}")
        return self.told

    def kill_workers(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def lose_broker(self) -> None:
        """Kill the broker, and start one without data in its place."""
        self.valkey.stop()
        shutil.rmtree(self.folder / "valkey")
        self.valkey = EmbeddedValkey(self.folder / "valkey", port=self.valkey.port)
        self.valkey.start()

    def drain(self) -> None:
        """Have the clients stop and drain."""
        (self.folder / "stop").touch()
        codes = [child.wait(_END_SECONDS) for child in self._clients]
        if any(codes):
            raise RuntimeError(f"clients ended with {codes}: an outbox did not drain")

    def stop(self) -> None:
        """End everything."""
        for child in self._clients:
            kill_child(child)
        self.kill_workers()
        self.valkey.stop()
        self.postgres.stop()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {_SECONDS:g} s: {what}; logs are in {self.folder}")
            time.sleep(_POLL_SECONDS)
