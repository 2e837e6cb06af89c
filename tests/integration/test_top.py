"""`zdk top` over real servers and a real worker."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from redis import Redis

from api_client import Event, SessionKey, StorageClient
from tests.integration.conftest import Site
from tests.support.programs import clean_environment, run_zdk
from tests.support.waiting import wait_until
from worker.embedded.server import free_port
from worker.presence.beats import SeenWorker, read_workers
from worker.settings import Settings
from worker.top.scene import PATIENCE, Scene

_SECONDS = 60.0


def seen(redis: Redis) -> dict[int, SeenWorker]:
    """The workers by pid."""
    return {worker.beat.pid: worker for worker in read_workers(redis)}


def test_workers_are_seen_and_what_they_do(postgres_site: Site) -> None:
    site = postgres_site
    first, second = site.worker("first", concurrency=2), site.worker("second")
    with Redis.from_url(site.broker_url) as redis, second:
        with first:
            wait_until(lambda: {first.pid, second.pid} <= seen(redis).keys(), "two workers")
            assert seen(redis)[first.pid].beat.processes == 2
            with ThreadPoolExecutor() as pool:
                done_by = pool.submit(_append, site, sessions=20, refused=3)
                # Each beat tells of the time since the one before.
                wait_until(lambda: _operations(redis) == 43, "all that was done", timeout=60)
                done_by.result()
            done = run_zdk("top", "--once", "--json", environment=site.environment, cwd=site.folder)
            pid = first.pid
        # One that has ended in order has taken its leave; one that was killed has not.
        assert pid not in seen(redis)
        pid = second.pid
        second.kill()
        assert pid in seen(redis)
    picture = json.loads(done.stdout)
    assert done.returncode == 0
    assert picture["trouble"] == {}
    assert [queue["depth"] for queue in picture["broker"]["queues"]] == [0, 0]
    assert picture["totals"]["alive"] == 2
    assert picture["database"]["dead_letters"] == 3
    assert picture["database"]["newest"]["code"] == "not_found"
    assert 0 < picture["database"]["connections"] < picture["database"]["most_connections"]


def _append(site: Site, *, sessions: int, refused: int) -> None:
    with StorageClient(site.broker_url) as client:
        keys = [SessionKey("top", "user", str(number)) for number in range(sessions)]
        for key in keys:
            client.sessions.create(key).result(timeout=_SECONDS)
        for key in keys:
            client.sessions.append(key, Event(author="a", content=1)).result(timeout=_SECONDS)
        for _ in range(refused):
            nowhere = SessionKey("top", "user", "none")
            client.sessions.append(nowhere, Event(author="a", content=1))
        client.flush(timeout=_SECONDS)


_counted: dict[tuple[int, float], int] = {}


def _operations(redis: Redis) -> int:
    """Operations in all beats that were ever seen here."""
    for worker in read_workers(redis):
        _counted[worker.beat.pid, worker.beat.uptime] = worker.beat.recent.operations
    return sum(_counted.values())


@contextmanager
def watched(site: Site, **settings: str) -> Iterator[Scene]:
    names = {name.removeprefix("ZDK_").lower(): value for name, value in site.environment.items()}
    scene = Scene(Settings(**{**names, **settings}), 0.1)  # type: ignore[arg-type]
    try:
        yield scene
    finally:
        scene.close()


def test_a_part_that_hangs_is_named_and_the_rest_goes_on(site: Site) -> None:
    with watched(site) as scene:
        scene.wait()
        assert scene.picture().trouble == {}
        os.kill(site.valkey.pid, signal.SIGSTOP)
        try:
            wait_until(
                lambda: scene.picture().trouble.keys() == {"broker", "workers"},
                "the broker is missed",
                timeout=3 * PATIENCE,
            )
            assert scene.picture().database is not None
        finally:
            os.kill(site.valkey.pid, signal.SIGCONT)
        wait_until(lambda: scene.picture().trouble == {}, "it is back")


def test_parts_that_are_not_there(site: Site) -> None:
    database = f"postgresql://nobody:secret-word@127.0.0.1:{free_port()}/none"
    with watched(site, database_url=database) as scene:
        scene.wait()
        picture = scene.picture()
        assert picture.broker is not None
        assert picture.trouble.keys() == {"database"}
        assert "secret-word" not in picture.trouble["database"]
        assert "\n" not in picture.trouble["database"]


def test_once_fails_if_a_part_does_not_answer(site: Site) -> None:
    environment = {**site.environment, "ZDK_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"}
    done = run_zdk("top", "--once", environment=environment, cwd=site.folder)
    assert done.returncode == 5
    assert "broker: " in done.stdout
    assert "sqlite" in done.stdout
    assert "\x1b" not in done.stdout


def test_at_a_terminal_it_ends_with_q_and_sets_the_terminal_back(site: Site) -> None:
    main, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    child = subprocess.Popen(
        [sys.executable, "-m", "api_client", "top"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=clean_environment({**site.environment, "TERM": "xterm"}),
        cwd=site.folder,
    )
    try:
        shown = _read_until(main, b"no workers")
        assert b"q quits" in shown
        os.write(main, b"q")
        _read_until(main, b"\x1b[?1049l")
        assert child.wait(_SECONDS) == 0
        assert termios.tcgetattr(terminal) == before
    finally:
        child.kill()
        child.wait()
        os.close(main)
        os.close(terminal)


def _read_until(main: int, wanted: bytes) -> bytes:
    found = b""
    deadline = time.monotonic() + _SECONDS
    while wanted not in found:
        ready, _, _ = select.select([main], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{wanted!r} did not come; this did: {found!r}"
        found += os.read(main, 65536)
    return found
