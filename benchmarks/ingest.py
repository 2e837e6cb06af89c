"""Storing 2,000 files of 64 KB."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from api_client import ArtifactKey, StorageClient
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.files import Files
from benchmarks.payloads import APP, USER
from benchmarks.peers.adk import AdkFiles
from benchmarks.peers.disk import write_syncfs_rename
from benchmarks.storage import Storage
from tests.support.programs import clean_environment

_SIZE = 64 * 1024
_COMMAND = [sys.executable, "-m", "api_client", "ingest"]
_COMMAND_SECONDS = 300.0


def run(bench: Bench) -> None:
    """Measure all contestants."""
    files = Files(bench.folder / "files", bench.size(2_000, 100), _SIZE)
    copies = bench.folder / "copies"
    with bench.storage("ingest") as storage, storage.client(reaches_blobs=True) as client:

        def timed(store: Callable[[], object]) -> Mapping[str, Sequence[float]]:
            files.renew()
            begin = time.perf_counter()
            store()
            return {"ingest": [len(files.paths) / (time.perf_counter() - begin)]}

        turns = {
            "zdk": lambda: timed(lambda: save_all(client, files.paths)),
            "adk": lambda: timed(lambda: AdkFiles(fresh(copies)).save("s", files.paths)),
            "adk, 4 at once": lambda: timed(
                lambda: AdkFiles(fresh(copies)).save("s", files.paths, 4)
            ),
            "syncfs": lambda: timed(lambda: write_syncfs_rename(files.paths, fresh(copies))),
        }
        reason = _command_missing()
        if reason is None:
            turns["zdk ingest"] = lambda: timed(lambda: _ingest(storage, files.folder))
        else:
            bench.results.missing["zdk ingest"] = reason
        bench.compare(turns)


def fresh(folder: Path) -> Path:
    """The name of a new folder in ``folder``, whose parents are made.

    What is in it stays until the end of the run. ext4 does not use the inodes of deleted files
    again for some minutes, and looks at each of them whenever it makes a file near them: files
    that one contestant removes would make all that follow slow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return folder / new_id()


def save_all(client: StorageClient, paths: Sequence[Path]) -> None:
    """Save files as a new session's artifacts, and wait for every outcome."""
    session = new_id()
    receipts = [
        client.artifacts.save(ArtifactKey(APP, USER, session, path.name), path) for path in paths
    ]
    for receipt in receipts:
        receipt.result()


def _command_missing() -> str | None:
    """Why the command cannot take part, or None."""
    done = subprocess.run([*_COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else "this release has no command of that name"


def _ingest(storage: Storage, folder: Path) -> None:
    """Run the command, from the start of its process to the end."""
    environment = {
        **storage.environment,
        "ZDK_OUTBOX": str(storage.folder / "ingest.outbox"),
        # As installed packages do, it finds its modules compiled: the warm-up has left them here.
        # An environment made by uv has none, and a shell may tell Python to keep none.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(storage.folder / "bytecode"),
    }
    subprocess.run(
        [*_COMMAND, str(folder), "--app", APP, "--user", USER, "--session", new_id()],
        check=True,
        capture_output=True,
        timeout=_COMMAND_SECONDS,
        env=clean_environment(environment),
    )
