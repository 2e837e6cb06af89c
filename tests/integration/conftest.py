"""A database and a broker that one test has to itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer
from tests.support.workers import WorkerProcess
from worker.database import Database, DatabaseOptions
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade


@dataclass
class Site:
    """A broker and migrated stores without a worker.

    Attributes:
        folder: where they are kept.
        valkey: the broker.
        environment: what clients, workers and the ``zdk`` command need.
    """

    folder: Path
    valkey: EmbeddedValkey
    environment: dict[str, str]

    @property
    def broker_url(self) -> str:
        """The broker's URL."""
        return self.environment["ZDK_BROKER_URL"]

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
            database_url=self.environment["ZDK_DATABASE_URL"],
            artifacts_url=self.environment["ZDK_ARTIFACTS_URL"],
            concurrency=concurrency,
            pool=pool,
            app=app,
            settings=settings,
        )


@contextmanager
def open_site(folder: Path, database_url: str) -> Iterator[Site]:
    """A site in a folder, over a database that is migrated first."""
    with EmbeddedValkey(folder / "valkey") as valkey:
        database = Database(DatabaseOptions(database_url))
        upgrade(database)
        database.close()
        environment = {
            "ZDK_BROKER_URL": valkey.url,
            "ZDK_DATABASE_URL": database_url,
            "ZDK_ARTIFACTS_URL": f"file://{folder / 'artifacts'}",
        }
        yield Site(folder, valkey, environment)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of this test's own, over SQLite."""
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}") as opened:
        yield opened


@pytest.fixture
def postgres_site(tmp_path: Path, postgres: PostgresServer) -> Iterator[Site]:
    """The same over PostgreSQL."""
    name = f"site_{tmp_path.name}"
    with open_site(tmp_path, postgres.create_database(name)) as opened:
        yield opened
    postgres.drop_database(name)
