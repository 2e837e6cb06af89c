"""How workers end: with what they have begun, or by handing it back, and always in time."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from api_client import Event, SessionKey, StorageClient
from api_client.contract import codec
from api_client.outbox.schedule import ScheduleOptions
from tests.integration.conftest import Site
from tests.support.locks import held_sessions, wait_for_waiters
from tests.support.processes import wait_for_end
from tests.support.programs import clean_environment
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from worker.embedded.child import kill_child, start_child
from worker.embedded.server import LOOPBACK

KEY = SessionKey("app", "user", "session")
#: Seconds; what a shutdown may take beyond the grace period, and what a slow machine adds.
LAST_SECONDS, MARGIN = 10, 10


@pytest.fixture
def _never_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients do not send again, so that what arrives was handed back by the worker."""
    never = partial(ScheduleOptions, resend_after=1e6, resend_at_most=1e6)
    monkeypatch.setattr("api_client.client.ScheduleOptions", never)


@dataclass
class Blocked:
    """A worker in the middle of an append that waits for a lock.

    Attributes:
        processes: the worker and its pool.
        release: gives the lock back.
    """

    site: Site
    worker: WorkerProcess
    client: StorageClient
    processes: list[int]
    release: Callable[[], None]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.worker.pid, number)

    def wait_for_queued(self, waiting: int) -> None:
        """Wait until so many messages wait, and none is in anybody's hands."""
        wait_until(
            lambda: self.site.queues.counts(codec.WRITE_QUEUE) == (waiting, 0),
            f"{waiting} messages wait, and none is unacknowledged",
        )

    def contents(self) -> list[object]:
        store = open_store(self.site.environment["ZDK_DATABASE_URL"])
        found = contents(store, KEY.session)
        assert letters(store) == []
        store.close()
        return found


@contextmanager
def blocked(site: Site, grace: float) -> Iterator[Blocked]:
    """A worker that has begun an append and cannot finish it."""
    url = site.environment["ZDK_DATABASE_URL"]
    worker = site.worker(ZDK_SHUTDOWN_GRACE=str(grace), ZDK_LOCK_TIMEOUT="60")
    with site.client() as client, ExitStack() as lock:
        worker.start()
        try:
            client.sessions.create(KEY).result(timeout=60)
            pool = [child.pid for child in psutil.Process(worker.pid).children(recursive=True)]
            lock.enter_context(held_sessions(url))
            client.sessions.append(KEY, Event(author="a", content=1))
            wait_for_waiters(url)
            yield Blocked(site, worker, client, [worker.pid, *pool], lock.close)
        finally:
            worker.kill()


def says(worker: WorkerProcess, words: str) -> None:
    """Wait until a worker's log says something."""
    wait_until(lambda: words in worker.log.read_text(), f"the log says {words!r}")


@pytest.mark.usefixtures("_never_sent_again")
class TestOneWorker:
    def test_term_lets_finish_what_has_begun(self, postgres_site: Site) -> None:
        with blocked(postgres_site, grace=60) as found:
            found.signal(signal.SIGTERM)
            says(found.worker, "Warm shutdown")
            found.release()
            assert found.worker.wait(timeout=30) == 0
            wait_for_end(found.processes, timeout=10)
            assert found.client.flush(timeout=10) == 0
            found.wait_for_queued(0)
            assert found.contents() == [1]

    def test_what_does_not_end_in_time_is_handed_back(self, postgres_site: Site) -> None:
        with blocked(postgres_site, grace=1) as found:
            found.signal(signal.SIGTERM)
            found.worker.wait(timeout=1 + LAST_SECONDS + MARGIN)
            wait_for_end(found.processes, timeout=10)
            found.wait_for_queued(1)
            found.release()
            with postgres_site.worker("second"):
                assert found.client.flush(timeout=60) == 0
                assert found.contents() == [1]
                found.wait_for_queued(0)

    def test_quit_lets_finish_what_ends_in_time(self, postgres_site: Site) -> None:
        with blocked(postgres_site, grace=2) as found:
            found.signal(signal.SIGQUIT)
            says(found.worker, "Soft Shutdown")
            found.release()
            found.worker.wait(timeout=2 + LAST_SECONDS + MARGIN)
            wait_for_end(found.processes, timeout=10)
            assert found.contents() == [1]
            assert found.client.flush(timeout=10) == 0

    def test_who_has_nothing_to_do_does_not_wait(self, site: Site) -> None:
        with site.worker(ZDK_SHUTDOWN_GRACE="3600") as worker:
            processes = [worker.pid, *(p.pid for p in psutil.Process(worker.pid).children())]
            os.kill(worker.pid, signal.SIGQUIT)
            worker.wait(timeout=30)
            wait_for_end(processes, timeout=10)


def test_one_whose_broker_has_never_answered_ends_in_time(site: Site) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent.settimeout(60)
        environment = {
            **site.environment,
            "ZDK_BROKER_URL": f"redis://{LOOPBACK}:{silent.getsockname()[1]}",
            "ZDK_RESULT_URL": site.valkey.url,
            "ZDK_SHUTDOWN_GRACE": "1",
        }
        command = [sys.executable, "-m", "celery", "-A", "worker.tasks", "worker"]
        child = start_child(command, env=clean_environment(environment), cwd=site.folder)
        try:
            connection, _ = silent.accept()
            with connection:
                child.send_signal(signal.SIGTERM)
                child.wait(1 + LAST_SECONDS + MARGIN)
        finally:
            kill_child(child)


def test_a_rolling_restart_under_load_loses_nothing(postgres_site: Site) -> None:
    keys = [SessionKey("app", "user", f"s{number}") for number in range(2)]
    workers = [postgres_site.worker(f"worker{number}") for number in range(2)]
    for worker in workers:
        worker.start()
    enough = threading.Event()
    sent = dict.fromkeys(keys, 0)

    def load(client: StorageClient, key: SessionKey) -> None:
        while not enough.is_set():
            receipt = client.sessions.append(key, Event(author="a", content=sent[key]))
            sent[key] += 1
            if sent[key] % 5 == 0:
                receipt.result(timeout=60)

    def went_on(begun: int) -> bool:
        return min(sent.values()) > begun + 10

    try:
        with postgres_site.client() as client:
            for key in keys:
                client.sessions.create(key)
            threads = [threading.Thread(target=load, args=(client, key)) for key in keys]
            for thread in threads:
                thread.start()
            try:
                for worker in workers:
                    begun = min(sent.values())
                    os.kill(worker.pid, signal.SIGTERM)
                    assert worker.wait(timeout=60) == 0
                    worker.start()
                    wait_until(partial(went_on, begun), "work goes on")
            finally:
                enough.set()
                for thread in threads:
                    thread.join(60)
            assert client.flush(timeout=60) == 0
    finally:
        for worker in workers:
            worker.kill()
    store = open_store(postgres_site.environment["ZDK_DATABASE_URL"])
    for key, count in sent.items():
        assert contents(store, key.session) == [*range(count)]
    assert letters(store) == []
    store.close()
