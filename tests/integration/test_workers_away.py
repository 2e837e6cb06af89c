"""What a client sees while workers are stopped, killed, or started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from api_client import ArtifactKey, Event, SessionKey, StorageClient, Unavailable
from tests.integration.conftest import Site
from tests.support.processes import wait_for_end

KEY = SessionKey("app", "user", "session")


def append_all(client: StorageClient, count: int) -> None:
    client.sessions.create(KEY)
    for number in range(count):
        client.sessions.append(KEY, Event(author="a", content=number))


def contents(client: StorageClient) -> list[object]:
    return [event.content for event in client.sessions.load(KEY).result(timeout=60).events]


def test_accepted_without_workers_and_applied_once_one_starts(site: Site, tmp_path: Path) -> None:
    with site.client(tmp_path / "outbox.db") as client:
        append_all(client, 50)
        receipt = client.sessions.append(KEY, Event(author="a", content=50))
        receipt.accepted.result(timeout=10)
        assert not receipt.done()
        assert client.flush(timeout=0.1) == 52
        with site.worker():
            assert receipt.result(timeout=60).seq == 51
            assert contents(client) == list(range(51))


def test_read_without_workers_fails_in_time(site: Site) -> None:
    with (
        site.client(read_timeout=0.5) as client,
        pytest.raises(Unavailable, match="worker"),
    ):
        client.sessions.load(KEY).result(timeout=30)


def test_killed_pool_process_loses_nothing(site: Site, tmp_path: Path) -> None:
    with site.worker() as worker, site.client(tmp_path / "outbox.db") as client:
        append_all(client, 500)
        pool = psutil.Process(worker.pid).children()
        for process in pool:
            os.kill(process.pid, signal.SIGKILL)
        wait_for_end([process.pid for process in pool], timeout=10)
        for number in range(500, 1000):
            client.sessions.append(KEY, Event(author="a", content=number))
        assert client.flush(timeout=90) == 0
        assert contents(client) == list(range(1000))


def test_killed_worker_loses_nothing_and_leaves_no_pool_process(site: Site, tmp_path: Path) -> None:
    with site.client(tmp_path / "outbox.db") as client, site.worker("second"):
        first = site.worker("first")
        first.start()
        append_all(client, 1000)
        saved = [
            client.artifacts.save(ArtifactKey("app", "user", "s", str(n)), b"x" * n)
            for n in range(100)
        ]
        first.kill()
        assert client.flush(timeout=90) == 0
        assert contents(client) == list(range(1000))
        assert [receipt.result() for receipt in saved] == [1] * 100


def test_stopped_worker_finishes_and_exits_with_0(site: Site, tmp_path: Path) -> None:
    with site.client(tmp_path / "outbox.db") as client:
        worker = site.worker()
        worker.start()
        append_all(client, 200)
        assert client.flush(timeout=60) == 0
        pid = worker.pid
        worker.stop()
        wait_for_end([pid], timeout=10)
        assert "Traceback" not in worker.log_tail(200)
