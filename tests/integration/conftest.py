"""A database and a broker that one test has to itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from api_client import StorageClient
from api_client.contract.records import new_id
from tests.support.plain import plain_celery
from tests.support.postgres import PostgresServer
from tests.support.queues import Queues, RabbitMQQueues, RedisQueues
from tests.support.rabbitmq import RabbitMQServer
from tests.support.workers import WorkerProcess
from worker.database import Database, DatabaseOptions
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade


@dataclass
class Site:
    """A broker and migrated stores without a worker.

    Attributes:
        folder: where they are kept.
        valkey: the broker; beside a RabbitMQ, where results and staged bytes are.
        rabbitmq: the broker, if it is one.
        queues: what the broker holds.
        environment: what clients, workers and the ``zdk`` command need.
    """

    folder: Path
    valkey: EmbeddedValkey
    rabbitmq: RabbitMQServer | None
    queues: Queues
    environment: dict[str, str]

    @property
    def broker_url(self) -> str:
        """The broker's URL."""
        return self.environment["ZDK_BROKER_URL"]

    def client(self, outbox: Path | None = None, **options: Any) -> StorageClient:
        """A client, which the caller closes; the arguments are those of the class."""
        result_url = self.environment.get("ZDK_RESULT_URL")
        return StorageClient(self.broker_url, outbox, result_url=result_url, **options)

    def plain(self) -> Celery:
        """A publisher without our client, which the caller closes."""
        return plain_celery(self.broker_url, self.environment.get("ZDK_RESULT_URL"))

    def worker(
        self,
        name: str = "worker",
        *,
        concurrency: int = 1,
        pool: str = "prefork",
        app: str = "worker.tasks",
        **settings: str,
    ) -> WorkerProcess:
        """A worker for these stores, not started yet."""
        return WorkerProcess(
            self.folder / name,
            broker_url=self.environment["ZDK_BROKER_URL"],
            result_url=self.environment.get("ZDK_RESULT_URL"),
            database_url=self.environment["ZDK_DATABASE_URL"],
            artifacts_url=self.environment["ZDK_ARTIFACTS_URL"],
            concurrency=concurrency,
            pool=pool,
            app=app,
            settings=settings,
        )


@contextmanager
def open_site(
    folder: Path, database_url: str, rabbitmq: RabbitMQServer | None = None
) -> Iterator[Site]:
    """A site in a folder, over a database that is migrated first.

    Parameters:
        rabbitmq: the broker; a Valkey of the site's own if None.
    """
    with EmbeddedValkey(folder / "valkey") as valkey:
        database = Database(DatabaseOptions(database_url))
        upgrade(database)
        database.close()
        environment = {
            "ZDK_BROKER_URL": valkey.url,
            "ZDK_DATABASE_URL": database_url,
            "ZDK_ARTIFACTS_URL": f"file://{folder / 'artifacts'}",
        }
        queues: Queues = RedisQueues(valkey.url)
        if rabbitmq is not None:
            virtual_host = new_id()
            queues = RabbitMQQueues(rabbitmq, virtual_host)
            environment["ZDK_BROKER_URL"] = rabbitmq.add_virtual_host(virtual_host)
            environment["ZDK_RESULT_URL"] = valkey.url
        yield Site(folder, valkey, rabbitmq, queues, environment)


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQServer | None) -> Iterator[Site]:
    """A site of this test's own, over SQLite."""
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}", rabbitmq) as opened:
        yield opened


@pytest.fixture
def postgres_site(
    tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitMQServer | None
) -> Iterator[Site]:
    """The same over PostgreSQL."""
    name = f"site_{tmp_path.name}"
    with open_site(tmp_path, postgres.create_database(name), rabbitmq) as opened:
        yield opened
    postgres.drop_database(name)
