"""Broker, database, blob store and workers in one folder, for one machine: what ``zdk up`` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from worker.database import Database, DatabaseOptions
from worker.embedded.child import start_child, stop_child
from worker.embedded.server import is_free
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade

#: Seconds between two looks at the workers.
_LOOK_EVERY = 0.2
#: Seconds before a worker that has just been started is started again.
_RESTART_PAUSE = 1.0
#: Seconds beyond a worker's own grace period until it is killed.
_KILL_AFTER = 5.0


@dataclass
class _Worker:
    child: subprocess.Popen[bytes]
    started: float


@dataclass
class EmbeddedStack:
    """An embedded Valkey with its append-only file, SQLite, a blob folder, and workers.

    Use it from the main thread only: its processes die when the thread that started them does.

    Parameters:
        folder: where everything is kept; created if missing. One stack at a time can use it.
        workers: how many worker processes.
        concurrency: pool processes of each.
        port: of the broker; 0 for the one used last time, or a free one.
        grace: seconds that workers get to finish what they have begun.
    """

    folder: Path
    workers: int = 2
    concurrency: int = 1
    port: int = 0
    grace: float = 30.0
    _running: list[_Worker] = field(default_factory=list)
    _started_valkey: EmbeddedValkey | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client and a worker of this stack need in their environment."""
        return {
            "ZDK_BROKER_URL": self._valkey.url,
            "ZDK_RESULT_URL": self._valkey.url,
            "ZDK_DATABASE_URL": f"sqlite:///{self.folder / 'zdk.db'}",
            "ZDK_ARTIFACTS_URL": f"file://{quote(str(self.folder / 'artifacts'))}",
            "ZDK_OUTBOX": f"{self.folder / 'outbox'}/",
        }

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers."""
        return [running.child.pid for running in self._running]

    def start(self) -> None:
        """Start the broker, migrate the database, start the workers.

        Raises:
            EmbeddedError: the broker cannot be started.
            Unavailable: the database cannot be migrated.
        """
        self.folder = self.folder.absolute()
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "outbox").mkdir(mode=0o700, exist_ok=True)
        port = self.port or _last_port(self._state_file)
        self._started_valkey = EmbeddedValkey(self.folder / "valkey", port=port)
        self._valkey.start()
        database = Database(DatabaseOptions(self.environment["ZDK_DATABASE_URL"]))
        upgrade(database)
        database.close()
        self._running = [self._start_worker(number) for number in range(self.workers)]
        self._write_state()

    def supervise(self, stopped: Callable[[float], bool]) -> None:
        """Start the broker and workers again that have ended, until ``stopped``.

        Parameters:
            stopped: waits for at most the given seconds, and says whether to stop.

        Raises:
            EmbeddedError: the broker cannot be started again.
        """
        while not stopped(_LOOK_EVERY):
            if not self._valkey.running:
                self._valkey.start()
                self._write_state()
            for number, running in enumerate(self._running):
                ended = running.child.poll() is not None
                if ended and time.monotonic() - running.started > _RESTART_PAUSE:
                    self._running[number] = self._start_worker(number)
                    self._write_state()

    def stop(self) -> None:
        """End the workers, then the broker, as far as they were started."""
        for running in self._running:
            if running.child.poll() is None:
                running.child.terminate()
        deadline = time.monotonic() + self.grace + _KILL_AFTER
        for running in self._running:
            stop_child(running.child, grace=max(0.1, deadline - time.monotonic()))
        self._running = []
        if self._started_valkey is not None:
            self._started_valkey.stop()

    @property
    def _valkey(self) -> EmbeddedValkey:
        if self._started_valkey is None:
            raise RuntimeError("the stack has not been started")
        return self._started_valkey

    @property
    def _state_file(self) -> Path:
        return self.folder / "up.json"

    def _start_worker(self, number: int) -> _Worker:
        log = self.folder / "logs" / f"worker-{number + 1}.log"
        with open(log, "ab") as output:
            child = start_child(
                [
                    *(sys.executable, "-m", "api_client", "worker"),
                    f"--hostname=zdk-{number + 1}@%h",
                    f"--concurrency={self.concurrency}",
                ],
                env=_worker_environment(self.environment, self.grace),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return _Worker(child, time.monotonic())

    def _write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "port": self._valkey.port,
            "broker_pid": self._valkey.pid,
            "worker_pids": self.worker_pids,
            "environment": self.environment,
        }
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(state, indent=2) + "\n")
        temporary.replace(self._state_file)


def _worker_environment(own: Mapping[str, str], grace: float) -> dict[str, str]:
    # A folder is not a place to look for packages in, and yet Python puts it on the path of -m.
    fixed = {
        "ZDK_SHUTDOWN_GRACE": str(grace),
        "PYTHONSAFEPATH": "1",
        # Only one of them could have it.
        "ZDK_HTTP_PORT": "",
    }
    return {**os.environ, **own, **fixed}


def _last_port(state_file: Path) -> int:
    """The port in use when the stack was last up; 0 if it never was, or the port is taken."""
    try:
        port = int(json.loads(state_file.read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return port if is_free(port) else 0
