"""``zdk artifacts verify``: what it prints, how it ends, where it is mounted."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from api_client.cli.main import build_app
from tests.support.artifacts import reference, save
from tests.support.programs import clean_environment, run_zdk
from worker.artifacts.blobs import FilesystemBlobStore
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

DATA = b"the bytes that were saved" * 10
SHA256 = reference(DATA).sha256


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "ZDK_DATABASE_URL": f"sqlite:///{tmp_path / 'zdk.db'}",
        "ZDK_ARTIFACTS_URL": f"file://{tmp_path / 'blobs'}",
    }


@pytest.fixture
def storage(environment: dict[str, str], tmp_path: Path) -> Iterator[Storage]:
    database = Database(DatabaseOptions(environment["ZDK_DATABASE_URL"]))
    upgrade(database)
    yield Storage(database, FilesystemBlobStore(tmp_path / "blobs"))
    database.close()


@pytest.fixture
def blob(storage: Storage, tmp_path: Path) -> Path:
    """The file of a version's bytes."""
    save(storage, "a", DATA)
    return tmp_path / "blobs" / SHA256[:2] / SHA256


def verify(environment: dict[str, str], *options: str) -> Result:
    words = ["artifacts", "verify", *options]
    return CliRunner().invoke(build_app(), words, env=environment)


def as_json(environment: dict[str, str], *options: str) -> Any:
    return json.loads(verify(environment, "--json", *options).stdout)


def test_all_is_well(environment: dict[str, str], blob: Path) -> None:
    result = verify(environment)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "1 blobs (250 bytes) examined: all of them are whole\n"
    assert as_json(environment) == {
        "damaged": [],
        "ok": True,
        "blobs": 1,
        "bytes": 250,
        "wrong": 0,
        "quarantined": 0,
    }


def test_machines_get_everything(environment: dict[str, str], blob: Path, storage: Storage) -> None:
    save(storage, "user:b", DATA)
    blob.write_bytes(DATA[::-1])
    result = verify(environment, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["ok"], report["wrong"], len(report["damaged"])) == (False, 1, 2)
    assert report["damaged"][0] == {
        "app": "app",
        "user": "user",
        "session": "session",
        "name": "a",
        "version": 1,
        "size": 250,
        "sha256": SHA256,
        "problem": "hash",
        "detail": "the bytes have another hash",
        "quarantined": False,
    }
    assert report["damaged"][1]["session"] is None


def test_people_get_a_table(environment: dict[str, str], blob: Path) -> None:
    blob.unlink()
    result = verify(environment)
    assert result.exit_code == 1
    titles, row, summary = result.stdout.splitlines()
    assert titles.split()[:6] == ["App", "User", "Session", "Name", "Version", "SHA-256"]
    assert row.split()[:6] == ["app", "user", "session", "a", "1", SHA256]
    assert "missing: not in the blob store" in row
    assert summary == "1 blobs (250 bytes) examined: 1 wrong; 1 versions refer to them"


def test_the_table_has_an_end(
    environment: dict[str, str], blob: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("worker.cli.verify"), "_MOST_ROWS", 2)
    for _ in range(4):
        save(storage, "a", DATA)
    blob.unlink()
    shown = verify(environment).stdout.splitlines()
    assert len(shown) == 1 + 2 + 1 + 1
    assert shown[3] == "... and 3 more; --json lists all"
    assert len(as_json(environment)["damaged"]) == 5


def test_a_name_cannot_steer_the_terminal(environment: dict[str, str], storage: Storage) -> None:
    save(storage, "\x1b[31m[bold]\n\u202e", DATA)
    storage.blobs.delete(SHA256)
    shown = verify(environment).stdout
    assert r"\x1b[31m[bold]\n\u202e" in shown
    assert "\x1b" not in shown


def test_quarantine_is_told(environment: dict[str, str], blob: Path, tmp_path: Path) -> None:
    blob.write_bytes(DATA[::-1])
    result = verify(environment, "--quarantine")
    assert result.exit_code == 1
    assert "hash: the bytes have another hash; moved aside" in result.stdout
    assert "1 wrong, 1 of them moved aside" in result.stdout
    assert (tmp_path / "blobs" / "damaged" / SHA256).read_bytes() == DATA[::-1]
    assert as_json(environment)["damaged"][0]["problem"] == "missing"


def test_quarantine_needs_a_store_that_can(environment: dict[str, str], storage: Storage) -> None:
    result = verify({**environment, "ZDK_ARTIFACTS_URL": "memory://"}, "--quarantine")
    assert result.exit_code == 2
    assert result.stderr == "zdk: --quarantine: this blob store cannot move blobs aside\n"


def test_a_database_that_is_down_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    result = verify({**environment, "ZDK_DATABASE_URL": f"sqlite:///{tmp_path}/no/such.db"})
    assert result.exit_code == 5
    assert result.stderr.startswith("zdk: unable to open database file")


def test_without_a_database_no_document_is_begun(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["ZDK_DATABASE_URL"] = f"sqlite:///{tmp_path}/new.db"
    result = verify(environment, "--json")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "run zdk migrate" in result.stderr


def test_a_folder_that_is_not_mounted_is_suspected(
    environment: dict[str, str], blob: Path, storage: Storage
) -> None:
    save(storage, "b", DATA * 2)
    blob.unlink()
    assert "mounted" not in verify(environment).stderr, "one of two is whole"
    environment["ZDK_ARTIFACTS_URL"] += "-elsewhere"
    result = verify(environment, "--json")
    assert json.loads(result.stdout)["wrong"] == 2
    assert "mounted" in result.stderr


def test_a_terminal_shows_the_rate_and_the_output_stays_clean(
    environment: dict[str, str], blob: Path, tmp_path: Path
) -> None:
    blob.unlink()
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        program = subprocess.Popen(
            [sys.executable, "-m", "api_client", "artifacts", "verify", "--json"],
            env=clean_environment({**environment, "TERM": "xterm", "COLUMNS": "120"}),
            stdout=out,
            stderr=theirs,
        )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        # How a terminal ends whose last program has ended.
        pass
    finally:
        os.close(ours)
    assert program.wait(60) == 1
    assert b"0/250 bytes" in shown
    # No byte was read, so neither the rate nor the time that is left can be told.
    assert b"?" in shown
    assert b"-:--:--" in shown
    assert json.loads((tmp_path / "out").read_bytes())["damaged"][0]["sha256"] == SHA256


def verbs(app: typer.Typer) -> set[str | None]:
    (artifacts,) = (group for group in app.registered_groups if group.name == "artifacts")
    assert artifacts.typer_instance is not None
    return {command.name for command in artifacts.typer_instance.registered_commands}


def test_it_is_the_operators() -> None:
    assert "verify" in verbs(build_app())
    # Nothing is left of it in a command that is built after.
    assert "verify" not in verbs(build_app(operator=False))


ABSENT = (
    "import sys; sys.modules['sqlalchemy'] = None; from api_client.cli.main import main; main()"
)


@pytest.mark.parametrize(
    "words", [["artifacts", "verify", "--json"], ["artifacts", "verify", "-h"]]
)
def test_without_the_worker_extra_the_reason_is_told(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "zdk: zdk artifacts verify needs pip install 'zdk-storage[worker]'\n"


def test_other_verbs_do_not_load_the_operators(environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['zdk', 'artifacts', 'list', '--help']\n"
        "from api_client.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('worker')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == "[]\n"
    assert "verify" in run_zdk("artifacts", environment=environment, cwd=tmp_path).stdout
