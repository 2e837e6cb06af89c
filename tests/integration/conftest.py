"""A database and a broker that one test has to itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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

    def worker(self, name: str = "worker", **settings: str) -> WorkerProcess:
        """A worker for these stores, not started yet."""
        return WorkerProcess(
            self.folder / name,
            broker_url=self.environment["ZDK_BROKER_URL"],
            database_url=self.environment["ZDK_DATABASE_URL"],
            artifacts_url=self.environment["ZDK_ARTIFACTS_URL"],
            concurrency=1,
            settings=settings,
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of this test's own."""
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        environment = {
            "ZDK_BROKER_URL": valkey.url,
            "ZDK_DATABASE_URL": f"sqlite:///{tmp_path / 'zdk.db'}",
            "ZDK_ARTIFACTS_URL": f"file://{tmp_path / 'artifacts'}",
        }
        database = Database(DatabaseOptions(environment["ZDK_DATABASE_URL"]))
        upgrade(database)
        database.close()
        yield Site(tmp_path, valkey, environment)
