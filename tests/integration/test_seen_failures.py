"""A failure leaves a dead letter, until the caller who has seen the error says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from api_client import AlreadyExists, SessionKey, StorageClient
from tests.integration.conftest import Site

KEY = SessionKey("app", "user", "session")
PATIENCE = 60.0


def dead_letters(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "zdk.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM dead_letters").fetchone()
    return int(count)


@pytest.fixture
def open_local(tmp_path: Path) -> Callable[[], StorageClient]:
    return lambda: StorageClient.local(f"sqlite:///{tmp_path / 'zdk.db'}")


def test_in_process(tmp_path: Path, open_local: Callable[[], StorageClient]) -> None:
    with open_local() as client:
        client.sessions.create(KEY).result()
        unseen, seen = client.sessions.create(KEY), client.sessions.create(KEY)
        client.flush(PATIENCE)
        assert dead_letters(tmp_path) == 2
        with pytest.raises(AlreadyExists):
            seen.result()
    assert unseen.done()
    assert dead_letters(tmp_path) == 1


def test_through_a_broker(site: Site) -> None:
    with site.worker():
        client = StorageClient(site.broker_url)
        client.sessions.create(KEY).result(PATIENCE)
        unseen, seen = client.sessions.create(KEY), client.sessions.create(KEY)
        assert isinstance(seen.exception(PATIENCE), AlreadyExists)
        assert client.flush(PATIENCE) == 0
        assert client.close() == 0
        # Queries come back after the worker has seen to what was sent before.
        with StorageClient(site.broker_url) as other:
            while dead_letters(site.folder) == 2:
                other.sessions.load(KEY).result(PATIENCE)
    assert unseen.done()
    assert dead_letters(site.folder) == 1
