"""``zdk up``: everything on one machine, and nothing left of it."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from api_client import Event, SessionKey, StorageClient
from tests.support.processes import wait_for_end
from tests.support.programs import clean_environment, run_zdk
from tests.support.waiting import wait_until

KEY = SessionKey("app", "user", "session")
_READY_SECONDS = 60.0
_END_SECONDS = 30.0

together = pytest.mark.xdist_group("up")


@contextmanager
def up(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """Run ``zdk up`` until it is up; give its process and the environment it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "api_client", "up", "--json", f"--folder={folder}", *options],
        stdout=subprocess.PIPE,
        env=clean_environment({}),
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(_READY_SECONDS), "zdk up did not come up"
        yield process, json.loads(process.stdout.readline())["environment"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """One that several tests use: its folder, and the environment it printed."""
    folder = tmp_path_factory.mktemp("up") / "data"
    with up(folder, "--workers=1") as (_, environment):
        yield folder, environment


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """The process ids of all that it has started."""
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def append(environment: dict[str, str], content: str) -> None:
    with StorageClient(environment["ZDK_BROKER_URL"]) as client:
        client.sessions.append(KEY, Event(author="a", content=content)).result(timeout=30)


def contents(environment: dict[str, str]) -> list[object]:
    with StorageClient(environment["ZDK_BROKER_URL"]) as client:
        return [event.content for event in client.sessions.load(KEY).result().events]


def test_killed_up_leaves_no_process_and_loses_nothing(tmp_path: Path) -> None:
    with up(tmp_path / "data") as (process, environment):
        with StorageClient(environment["ZDK_BROKER_URL"]) as client:
            client.sessions.create(KEY).result(timeout=30)
        append(environment, "before")
        # Up is up with its first worker; the second may not have forked yet.
        whole = "a broker, two workers, and a pool process of each"
        wait_until(lambda: len(family(process)) >= 5, whole)
        started = family(process)
        process.kill()
        wait_for_end(started, timeout=_END_SECONDS)
    with up(tmp_path / "data") as (_, again):
        assert again["ZDK_BROKER_URL"] == environment["ZDK_BROKER_URL"]
        append(again, "after")
        assert contents(again) == ["before", "after"]


def test_terminated_up_ends_all_its_processes(tmp_path: Path) -> None:
    with up(tmp_path / "data", "--workers=1") as (process, _):
        started = family(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_END_SECONDS) == 0
        wait_for_end(started, timeout=1)


@together
def test_up_starts_a_killed_worker_again(running: tuple[Path, dict[str, str]]) -> None:
    folder, environment = running
    state = json.loads((folder / "up.json").read_text())
    os.kill(state["worker_pids"][0], signal.SIGKILL)
    with StorageClient(environment["ZDK_BROKER_URL"]) as client:
        client.sessions.create(KEY).result(timeout=60)


@together
def test_second_up_on_the_same_folder_is_refused(
    running: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, _ = running
    second = run_zdk("up", f"--folder={folder}", environment={}, cwd=tmp_path)
    assert second.returncode == 5
    assert str(folder) in second.stderr


@together
def test_exports_are_in_the_folder_for_a_shell(running: tuple[Path, dict[str, str]]) -> None:
    folder, environment = running
    shown = subprocess.run(
        ["sh", "-c", '. "$1"; echo "$ZDK_BROKER_URL $ZDK_OUTBOX"', "sh", folder / "env"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert shown.stdout.split() == [environment["ZDK_BROKER_URL"], environment["ZDK_OUTBOX"]]
