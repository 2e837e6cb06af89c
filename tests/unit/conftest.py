"""Storage objects over both databases, for tests of the worker's parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.driven import DrivenLoop, FakeWorker
from tests.support.stores import empty, open_store
from worker.storage import Storage


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
