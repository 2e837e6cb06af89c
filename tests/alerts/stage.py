"""What the alerts are about: broker, database, a worker, and a client with a small outbox."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy import delete

from api_client import SessionKey, StorageClient
from api_client.contract import codec
from api_client.contract.errors import OutboxFull
from api_client.contract.operations import CreateSession
from api_client.contract.records import new_id
from api_client.metrics import OutboxCollector
from api_client.transport.publishers import RedisPublisher
from tests.support.endpoint_worker import start_endpoint_worker
from tests.support.postgres import PostgresServer
from worker.database import Database, DatabaseOptions
from worker.embedded.child import stop_child
from worker.embedded.server import LOOPBACK, free_port
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade
from worker.schema import dead_letters


class Stage:
    """Servers, a worker that is not started yet, and a client.

    Parameters:
        folder: for all data.
        valkey, postgres: running.
        room: operations that the client's outbox takes.
    """

    def __init__(
        self, folder: Path, valkey: EmbeddedValkey, postgres: PostgresServer, room: int = 40
    ):
        self._room = room
        self.folder = folder
        self.valkey = valkey
        self.postgres = postgres
        self.worker_port = free_port()
        self.client_port = free_port()
        self._database_url = postgres.create_database("alerts")
        database = Database(DatabaseOptions(self._database_url))
        upgrade(database)
        database.close()
        self._worker: subprocess.Popen[bytes] | None = None
        self.client = StorageClient(
            valkey.url, outbox=str(folder / "outbox.db"), max_operations=room
        )
        registry = CollectorRegistry()
        registry.register(OutboxCollector(self.client))
        self._server, _ = start_http_server(self.client_port, LOOPBACK, registry)

    @property
    def worker_pid(self) -> int:
        """Of the main process."""
        assert self._worker is not None
        return self._worker.pid

    def start_worker(self) -> None:
        """Start the worker, and wait until it takes messages."""
        log = self.folder / "worker.log"
        environment = {
            "ZDK_BROKER_URL": self.valkey.url,
            "ZDK_DATABASE_URL": self._database_url,
            "ZDK_ARTIFACTS_URL": f"file://{self.folder / 'artifacts'}",
            "ZDK_STALLED_AFTER": "3",
            "ZDK_LOCK_TIMEOUT": "0.2",
            "ZDK_PATIENCE": "2",
            "ZDK_SHUTDOWN_GRACE": "3",
        }
        self._worker = start_endpoint_worker(
            self.folder,
            log,
            self.worker_port,
            environment={**os.environ, **environment},
            concurrency=2,
        )

    def fail_unseen(self) -> None:
        """Have an operation fail whose caller does not look."""
        key = SessionKey("app", "user", "twice")
        self.client.sessions.create(key).result(30)
        self.client.sessions.create(key)
        self.client.flush(30)

    def forget_dead_letters(self) -> None:
        """As an operator who discards them all."""
        database = Database(DatabaseOptions(self._database_url))
        with database.write.begin() as connection:
            connection.execute(delete(dead_letters))
        database.close()

    @contextmanager
    def locked_ledger(self) -> Iterator[None]:
        """Nothing can be applied, although everything answers."""
        connection = psycopg2.connect(self._database_url.replace("+psycopg2", ""))
        try:
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
            yield
        finally:
            connection.close()

    def fill_outbox(self) -> None:
        """Create sessions until no more is taken."""
        try:
            for number in range(self._room + 1):
                key = SessionKey("app", "user", f"s-{number}")
                self.client.sessions.create(key)
        except OutboxFull:
            return
        raise AssertionError("the outbox has taken more than its limit")

    @contextmanager
    def crowd(self) -> Iterator[None]:
        """Publishers without an outbox send more and more messages, until the end."""
        over = threading.Event()

        def publish() -> None:
            publisher = RedisPublisher(self.valkey.url)
            while not over.wait(0.02):
                id_ = new_id()
                create = codec.encode_operation(CreateSession(key=SessionKey("app", "crowd", id_)))
                body = codec.encode_message(id_, [create])
                publisher.publish(codec.WRITE_TASK, id_, body, headers={}, expires=None)
            publisher.close()

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(10)

    def close(self) -> None:
        """End the client and the worker."""
        self.client.close(5)
        self._server.shutdown()
        if self._worker is not None:
            stop_child(self._worker, grace=15.0)
