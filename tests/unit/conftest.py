"""Storage objects over both databases, for tests of the worker's parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.driven import DrivenLoop, FakeWorker
from tests.support.postgres import PostgresServer
from tests.support.stores import empty, open_store
from worker.migrate import upgrade
from worker.storage import Storage


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A migrated database of each kind in turn, which one module has to itself."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'zdk.db'}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"unit_{request.module.__name__}"
        url = server.create_database(name)
    opened = open_store(url)
    upgrade(opened.database)
    opened.close()
    yield url
    if request.param == "postgresql":
        server.drop_database(name)


@pytest.fixture
def store(store_url: str) -> Iterator[Storage]:
    """An empty storage object over each database in turn."""
    opened = open_store(store_url)
    empty(opened)
    yield opened
    opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an outbox is kept."""
    return tmp_path / "outbox.db"


@pytest.fixture
def worker() -> FakeWorker:
    """One that is away until a test has it come."""
    return FakeWorker(up=False)


@pytest.fixture
def loop() -> DrivenLoop:
    """Turns an outbox when a test says so."""
    return DrivenLoop()
