"""An outbox folder that processes of one host share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from api_client import Event, SessionKey, StorageClient
from tests.integration.conftest import Site
from tests.support.programs import clean_environment

KEY = SessionKey("app", "user", "session")

_PROGRAM = """
import os, signal, sys
from api_client import Event, SessionKey, StorageClient

client = StorageClient.from_env()
key = SessionKey("app", "user", "session")
client.sessions.create(key)
for n in range(3):
    client.sessions.append(key, Event(author="a", content=f"{sys.argv[1]}{n}")).accepted.result()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(site: Site) -> Path:
    folder = site.folder / "outbox"
    site.environment["ZDK_OUTBOX"] = f"{folder}/"
    return folder


def die_in_turn(site: Site, *names: str) -> None:
    """Processes that live at the same time, each with a file of its own, and are killed."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, name], env=clean_environment(site.environment)
        )
        for name in names
    ]
    assert [process.wait(timeout=60) for process in started] == [-9] * len(names)


def test_operations_of_the_dead_come_before_those_of_the_living(site: Site, folder: Path) -> None:
    die_in_turn(site, "first", "second")
    with StorageClient(site.broker_url, f"{folder}/") as client:
        client.sessions.append(KEY, Event(author="a", content="new"))
        with site.worker():
            found = client.sessions.load(KEY).result(timeout=60)
    contents = [str(event.content) for event in found.events]
    assert contents[-1] == "new"
    for name in ("first", "second"):
        assert [c for c in contents if c.startswith(name)] == [f"{name}{n}" for n in range(3)]


def test_files_go_when_they_are_empty(site: Site, folder: Path) -> None:
    die_in_turn(site, "first", "second")
    with site.worker():
        for _ in range(3):
            with StorageClient(site.broker_url, f"{folder}/") as client:
                client.sessions.append(KEY, Event(author="a")).result(timeout=60)
    assert list(folder.iterdir()) == []


def test_two_living_clients_have_a_file_each(site: Site, folder: Path) -> None:
    with (
        StorageClient(site.broker_url, f"{folder}/") as one,
        StorageClient(site.broker_url, f"{folder}/") as two,
        site.worker(),
    ):
        one.sessions.create(KEY).result(timeout=60)
        assert two.sessions.append(KEY, Event(author="a")).result(timeout=60).seq == 1
        assert len(list(folder.glob("*.outbox"))) == 2


def test_a_damaged_file_is_moved_aside_and_named_in_the_log(
    site: Site, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    damaged = folder / "0.outbox"
    damaged.write_bytes(b"not a database")
    with StorageClient(site.broker_url, f"{folder}/") as client, site.worker():
        client.sessions.create(KEY).result(timeout=60)
    (aside,) = folder.glob("0.outbox.damaged-*")
    assert str(aside) in caplog.text
    assert aside.read_bytes() == b"not a database"
