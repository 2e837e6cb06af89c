"""A program that saves an artifact, and kills itself (SIGKILL) at a given step of that.

Each line of its standard input is an `Attempt` in JSON; a child applies it and dies at its step,
and one line of output tells at which: before or after a system call of the blob store, half-way
through a write, before or after a commit. ``done`` means that the save was through before that
step came.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.support.artifacts import StagedBytes, reference, saving
from worker.artifacts.blobs import FilesystemBlobStore
from worker.database import Database, DatabaseOptions
from worker.storage import Storage

DONE = "done"


class Attempt(msgspec.Struct):
    """What to save, where, and at which step to die, from 1."""

    database_url: str
    root: str
    message_id: str
    session: str
    data: bytes
    staged: bool
    step: int


class Steps:
    """Counts steps, and kills this process at one of them."""

    def __init__(self, last: int, report: int):
        self._left = last
        self._report = report

    def step(self, name: str) -> None:
        """Note a step."""
        self._left -= 1
        if self._left == 0:
            os.write(self._report, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, with a step before and one after."""

        def stepping(*args: Any, **options: Any) -> Any:
            self.step(f"before {name}")
            result = call(*args, **options)
            self.step(f"after {name}")
            return result

        return stepping

    def install(self, database: Database) -> None:
        """Let the system calls of a save, and commits, be steps."""
        for name in ("mkdir", "fsync", "replace", "utime"):
            setattr(os, name, self.around(name, getattr(os, name)))
        os.open = self.around("open", os.open)
        fdopen = os.fdopen
        os.fdopen = lambda *args: _Halving(fdopen(*args), self)  # type: ignore[assignment]
        dialect = database.write.dialect
        dialect.do_commit = self.around("commit", dialect.do_commit)  # type: ignore[method-assign]


class _Halving:
    """A file each of whose writes has a step in its middle."""

    def __init__(self, file: Any, steps: Steps):
        self._file = file
        self._steps = steps

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._steps.step("half-way through a write")
        self._file.write(data[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Halving:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def main() -> None:
    """Serve attempts until the input ends."""
    for line in sys.stdin:
        ours, report = os.pipe()
        pid = os.fork()
        if pid == 0:
            _save(msgspec.json.decode(line, type=Attempt), report)
            os._exit(0)
        os.close(report)
        with os.fdopen(ours) as told:
            name = told.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            name = DONE if status == 0 else f"failed with {status}"
        print(name, flush=True)


def _save(attempt: Attempt, report: int) -> None:
    data = attempt.data
    half = len(data) // 2
    staging = StagedBytes({reference(data).sha256: [data[:half], data[half:]]})
    database = Database(DatabaseOptions(attempt.database_url))
    storage = Storage(database, FilesystemBlobStore(Path(attempt.root)), staging)
    message = saving("a", data, staged=attempt.staged, session=attempt.session)
    message = msgspec.structs.replace(message, id=attempt.message_id)
    Steps(attempt.step, report).install(database)
    storage.apply([message])


if __name__ == "__main__":
    main()
