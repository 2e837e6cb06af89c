"""A client killed between accepted and applied goes on where it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api_client import ArtifactKey, SessionKey, StorageClient
from tests.integration.conftest import Site
from tests.support.programs import clean_environment

KEY = SessionKey("app", "user", "session")
COUNT = 300
BIG = bytes(range(256)) * 2048

_PROGRAM = f"""
import os, signal
from api_client import ArtifactKey, Event, SessionKey, StorageClient

client = StorageClient.from_env()
key = SessionKey("app", "user", "session")
client.sessions.create(key).accepted.result()
receipts = [client.sessions.append(key, Event(author="a", content=n)) for n in range({COUNT})]
for receipt in receipts:
    receipt.accepted.result()
name = ArtifactKey("app", "user", "session", "big")
client.artifacts.save(name, bytes(range(256)) * 2048).accepted.result()
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_and_die(site: Site, outbox: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=clean_environment({**site.environment, "ZDK_OUTBOX": str(outbox)}),
        timeout=60,
        check=False,
    )
    assert done.returncode == -9


def check_all_applied_once(client: StorageClient) -> None:
    session = client.sessions.load(KEY).result(timeout=30)
    assert [event.content for event in session.events] == list(range(COUNT))
    assert [event.seq for event in session.events] == list(range(1, COUNT + 1))
    big = ArtifactKey("app", "user", "session", "big")
    assert [version.version for version in client.artifacts.versions(big).result()] == [1]
    assert client.artifacts.load(big).result().data == BIG


def test_killed_client_without_workers_loses_nothing(site: Site, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    run_and_die(site, outbox)
    with site.worker(), StorageClient(site.broker_url, outbox) as client:
        assert client.flush(timeout=60) == 0
        check_all_applied_once(client)


def test_killed_client_whose_broker_is_flushed_loses_nothing(site: Site, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    run_and_die(site, outbox)
    with StorageClient(site.broker_url, tmp_path / "other.db") as other:
        other.sessions.create(SessionKey("app", "user", "other")).accepted.result()
    site.valkey.kill()
    for file in (tmp_path / "valkey").rglob("*.aof"):
        file.unlink()
    for file in (tmp_path / "valkey").rglob("*.manifest"):
        file.unlink()
    site.valkey.start()
    with site.worker(), StorageClient(site.broker_url, outbox) as client:
        assert client.flush(timeout=60) == 0
        check_all_applied_once(client)


def test_outbox_folder_adopts_the_file_of_a_killed_process(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    folder.mkdir()
    run_and_die(site, folder)
    with site.worker(), StorageClient(site.broker_url, folder) as client:
        assert client.flush(timeout=60) == 0
        check_all_applied_once(client)


def test_leftovers_of_the_outbox_are_gone_once_applied(site: Site, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    run_and_die(site, outbox)
    with site.worker(), StorageClient(site.broker_url, outbox) as client:
        assert client.flush(timeout=60) == 0
    assert list((tmp_path / "outbox.db.spool").iterdir()) == []
    with StorageClient(site.broker_url, outbox) as client:
        assert client.pending == 0
