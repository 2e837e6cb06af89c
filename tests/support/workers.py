"""Real Celery workers for tests, and whole stacks: stores, transport, worker, clients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped, unused-ignore]

from api_client import StorageClient
from api_client.contract import codec
from api_client.contract.outcomes import WriteReply
from api_client.contract.records import new_id
from tests.support.plain import plain_celery
from tests.support.processes import wait_for_end
from worker.embedded.child import kill_child, start_child, stop_child
from worker.embedded.server import log_tail, wait_until_ready

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_REPLY_SECONDS = 30.0
_KILL_SECONDS = 10.0


class WorkerProcess:
    """A Celery worker with its pool processes, none of which outlives this process.

    Start it from a thread that lives as long as the worker shall, normally the main thread.

    Parameters:
        folder: for its log (``worker.log``); created if missing.
        broker_url, database_url, artifacts_url: as in `worker.settings`.
        result_url: likewise; the broker if None.
        concurrency: pool processes.
        pool: Celery's pool; ``solo`` does the work in the worker's own process.
        app: the module with the Celery app.
        settings: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker_url: str,
        database_url: str,
        artifacts_url: str,
        result_url: str | None = None,
        concurrency: int = 2,
        pool: str = "prefork",
        app: str = "worker.tasks",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self.log = folder.absolute() / "worker.log"
        self._options = [f"--concurrency={concurrency}", f"--pool={pool}"]
        self._environment = {
            "ZDK_BROKER_URL": broker_url,
            # Empty counts as not set.
            "ZDK_RESULT_URL": result_url or "",
            "ZDK_DATABASE_URL": database_url,
            "ZDK_ARTIFACTS_URL": artifacts_url,
            "PYTHONPATH": str(_ROOT),
            **settings,
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The worker's process id; raises RuntimeError if it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise RuntimeError("the worker is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.poll() is None

    def start(self, *, timeout: float = _START_SECONDS) -> None:
        """Start the worker and wait until it takes messages.

        Parameters:
            timeout: seconds.

        Raises:
            EmbeddedStartFailed: it ended, or was not ready in time. The message ends its log.
            RuntimeError: it is running already.
        """
        begins = self.log.stat().st_size if self.log.exists() else 0
        child = self.launch()
        try:
            wait_until_ready(
                "the worker",
                child,
                lambda: b" ready.\n" in self.log.read_bytes()[begins:],
                timeout=timeout,
                log=self.log,
            )
        except BaseException:
            kill_child(child)
            self._child = None
            raise

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the worker without waiting for it.

        Raises:
            RuntimeError: it is running already.
        """
        if self.running:
            raise RuntimeError("the worker is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = start_child(
                [
                    *(sys.executable, "-m", "celery", "-A", self._app, "worker"),
                    *("--loglevel=INFO", "--without-gossip", "--without-mingle"),
                    f"--hostname=test-{new_id()}@%h",
                    *self._options,
                ],
                env={**os.environ, **self._environment},
                cwd=self.log.parent,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._child

    def wait(self, *, timeout: float) -> int:
        """Wait until the worker ends by itself, and return its exit code.

        Parameters:
            timeout: seconds.

        Raises:
            RuntimeError: it was not started.
            subprocess.TimeoutExpired: it still runs.
        """
        if self._child is None:
            raise RuntimeError("the worker was not started")
        return self._child.wait(timeout)

    def stop(self, grace: float = 10.0) -> None:
        """Let the worker finish what it has begun and end; if it is not running, do nothing.

        Parameters:
            grace: seconds until it is killed.
        """
        if self._child is not None:
            stop_child(self._child, grace=grace)
            self._child = None

    def kill(self) -> None:
        """Kill the worker and its pool processes (SIGKILL); if it is not running, do nothing.

        Raises:
            TimeoutError: a pool process has outlived its worker by ten seconds.
        """
        if self._child is None:
            return
        pool: list[int] = []
        if self._child.poll() is None:
            processes = psutil.Process(self._child.pid).children(recursive=True)
            pool = [process.pid for process in processes]
        kill_child(self._child)
        self._child = None
        wait_for_end(pool, timeout=_KILL_SECONDS)

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return log_tail(self.log, lines)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


@dataclass
class Stack:
    """One combination of a database, a blob store and a transport, ready for clients.

    Attributes:
        name: of the combination.
        folder: for outboxes, and for whatever files the stores have.
        database_url, artifacts_url: the stores.
        broker_url: the broker; None if the clients do the worker's part themselves.
        result_url: the Redis for results; the broker if None.
        worker: what serves the broker's queues.
    """

    name: str
    folder: Path
    database_url: str
    artifacts_url: str
    broker_url: str | None = None
    result_url: str | None = None
    worker: WorkerProcess | None = None
    _clients: list[StorageClient] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        """Whether several clients see the same stores. Each local client in memory has its own."""
        return self.broker_url is not None or self.database_url != "sqlite://"

    @property
    def blob_folder(self) -> Path | None:
        """Where blobs are, if they are files."""
        return self.folder / "artifacts" if self.artifacts_url.startswith("file:") else None

    def open(self, outbox: Path | None = None, **options: Any) -> StorageClient:
        """A new client, which the caller closes.

        Parameters:
            outbox: its file; in memory if None.
            options: of `StorageClient`.
        """
        options = {"wait_timeout": 40.0, "read_timeout": 30.0, **options}
        if self.broker_url is None:
            return StorageClient.local(self.database_url, self.artifacts_url, outbox, **options)
        return StorageClient(self.broker_url, outbox, result_url=self.result_url, **options)

    def clients(self, count: int) -> list[StorageClient]:
        """Clients that stay open, the same ones at each call, over Celery with outbox files.

        Where clients share nothing, they are one client, which shall serve several threads. Every
        other one over Celery reaches the blob folder, so that bytes come both ways.
        """
        while len(self._clients) < (count if self.shared else 1):
            if self.broker_url is None:
                self._clients.append(self.open())
                continue
            reach = len(self._clients) % 2 == 1 and self.blob_folder is not None
            file = self.folder / f"{new_id()}.outbox"
            self._clients.append(
                self.open(file, artifacts_url=self.artifacts_url if reach else None)
            )
        return self._clients[:count] if self.shared else self._clients * count

    def publish(self, message: Any) -> WriteReply:
        """Have a message applied that a publisher without our client sends with plain Celery.

        Parameters:
            message: the message as Python data.

        Raises:
            celery.exceptions.TimeoutError: there is no reply.
            Exception: the task has failed instead of replying.
        """
        assert self.broker_url is not None, "nobody can publish to a local stack"
        with plain_celery(self.broker_url, self.result_url) as plain:
            sent = plain.send_task(codec.WRITE_TASK, args=[message], queue=codec.WRITE_QUEUE)
            return codec.decode(codec.encode(sent.get(timeout=_REPLY_SECONDS)), WriteReply)

    def discard_clients(self) -> None:
        """Close the clients that stay open; what they have not sent by now is left unsent."""
        for client in self._clients:
            client.close(0.0)
        self._clients = []

    def close(self) -> None:
        """Close the clients, then end the worker."""
        self.discard_clients()
        if self.worker is not None:
            self.worker.kill()
