"""A save of an artifact that is killed at any of its steps, or meets a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from api_client.contract.records import new_id
from tests.support.artifacts import (
    HOUR,
    StagedBytes,
    apply,
    files_below,
    load,
    make_older,
    reference,
    save,
    saving,
)
from tests.support.dying_saver import DONE, Attempt
from worker.artifacts.blobs import FilesystemBlobStore
from worker.artifacts.references import Scope, blobs_of
from worker.artifacts.sweep import sweep_blobs
from worker.artifacts.verify import Verification
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.retry import is_transient
from worker.storage import Storage

_REPOSITORY = Path(__file__).parents[2]
_MOST_STEPS = 60

#: What a save must do in this order, whatever else it does in between.
IN_ORDER = [
    "before open",
    "half-way through a write",
    "before fsync",
    "after fsync",
    "before replace",
    "after replace",
    "before fsync",
    "after fsync",
    "before commit",
    "after commit",
]


class Saver:
    """The program that dies while it saves."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dying_saver"],
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def save(self, attempt: Attempt) -> str:
        """Have it save and die; returns the name of the step."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(msgspec.json.encode(attempt) + b"\n")
        self._program.stdin.flush()
        return self._program.stdout.readline().decode().strip()

    def close(self) -> None:
        """End it."""
        self._program.communicate(timeout=30)


@pytest.fixture(scope="module")
def saver() -> Iterator[Saver]:
    program = Saver()
    yield program
    program.close()


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = Database(DatabaseOptions(store_url))
    yield opened
    opened.close()


def assert_consistent(storage: Storage, session: str) -> bool:
    """No version lacks its bytes. Returns whether there is one."""
    scope = Scope(session=session)
    assert list(Verification(storage.database, storage.blobs, scope).run()) == []
    return bool(list(blobs_of(storage.database, scope)))


@pytest.mark.parametrize("kind", ["inline", "staged", "reused"])
@pytest.mark.parametrize("again", [True, False])
def test_a_save_is_killed_at_each_of_its_steps(
    saver: Saver, database: Database, tmp_path: Path, kind: str, again: bool
) -> None:
    steps = []
    for number in range(1, _MOST_STEPS):
        root = tmp_path / f"blobs-{number}"
        session = new_id()
        data = session.encode() * 100
        store = FilesystemBlobStore(root)
        if kind == "reused":
            store.put(reference(data).sha256, len(data), [data])
            make_older(root, 2 * HOUR)
        attempt = Attempt(
            database_url=database.options.url,
            root=str(root),
            message_id=new_id(),
            session=session,
            data=data,
            staged=kind == "staged",
            step=number,
        )
        step = saver.save(attempt)
        storage = Storage(database, store, StagedBytes({reference(data).sha256: [data]}))
        saved = assert_consistent(storage, session)
        assert saved == (step in ("after commit", DONE)), step
        if again:
            save_again(storage, attempt)
        sweep_away(storage, root, data, keeps=saved or again)
        steps.append(step)
        if step == DONE:
            break
    assert steps[-1] == DONE
    left = iter(steps)
    expected = IN_ORDER[-4:] if kind == "reused" else IN_ORDER
    assert [step for step in expected if step not in left] == []


def save_again(storage: Storage, attempt: Attempt) -> None:
    """The outbox sends the message again: it is applied once, with the right bytes."""
    message = saving("a", attempt.data, staged=attempt.staged, session=attempt.session)
    message = msgspec.structs.replace(message, id=attempt.message_id)
    for _ in range(2):
        (outcome,) = apply(storage, message)
        assert outcome.ok is not None
        assert msgspec.json.decode(outcome.ok)["version"] == 1
    assert load(storage, "a", attempt.session) == attempt.data
    assert assert_consistent(storage, attempt.session)


def sweep_away(storage: Storage, root: Path, data: bytes, *, keeps: bool) -> None:
    """What nothing refers to is gone once the grace period is over."""
    make_older(root, 2 * HOUR)
    sweep_blobs(storage.database, storage.blobs, grace=HOUR)
    name = reference(data).sha256
    assert files_below(root) == ([root / name[:2] / name] if keeps else [])


@pytest.fixture
def store(tmp_path: Path) -> FilesystemBlobStore:
    return FilesystemBlobStore(tmp_path / "blobs")


@pytest.fixture
def storage(store: FilesystemBlobStore) -> Iterator[Storage]:
    opened = Database(DatabaseOptions("sqlite://"))
    upgrade(opened)
    yield Storage(opened, store, patience=0.0)
    opened.close()


DATA = b"some bytes" * 1000


class Trouble:
    """Lets a function of `os` fail with ``number`` at its first calls on files, or on folders.

    Attributes:
        targets: what it was called on, as (device, inode).
    """

    def __init__(self, number: int, *, times: int, folders: bool = False):
        self._number = number
        self._times = times
        self._folders = folders
        self._fsync = os.fsync
        self.targets: list[tuple[int, int]] = []

    def fsync(self, descriptor: int) -> None:
        """In place of os.fsync."""
        status = os.fstat(descriptor)
        if (status.st_mode & 0o040000 != 0) == self._folders:
            self.targets.append((status.st_dev, status.st_ino))
            if len(self.targets) <= self._times:
                raise OSError(self._number, os.strerror(self._number))
        self._fsync(descriptor)


class FullFile:
    """A file that takes a few bytes, and then the disk is full."""

    def __init__(self, file: object):
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data[:7])  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # type: ignore[attr-defined]


def assert_refused(storage: Storage, store: FilesystemBlobStore, number: int) -> None:
    """A save fails with an error that passes, and leaves nothing."""
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        save(storage, "a", DATA)
    assert caught.value.errno == number
    assert is_transient(caught.value)
    assert list(blobs_of(storage.database, Scope())) == []
    assert [path for path in files_below(store.root) if path.parent.name == "incoming"] == []


def test_a_disk_that_is_full_while_writing_passes(
    storage: Storage, store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fdopen = os.fdopen
    with monkeypatch.context() as full:
        full.setattr(os, "fdopen", lambda *arguments: FullFile(fdopen(*arguments)))
        assert_refused(storage, store, errno.ENOSPC)
        assert files_below(store.root) == []
    assert save(storage, "a", DATA) == 1
    assert load(storage, "a") == DATA


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("folders", [False, True])
def test_an_fsync_that_fails_passes(
    storage: Storage,
    store: FilesystemBlobStore,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    folders: bool,
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", Trouble(number, times=1000, folders=folders).fsync)
        assert_refused(storage, store, number)
        assert_refused(storage, store, number)
    assert save(storage, "a", DATA) == 1
    assert load(storage, "a") == DATA
    assert len(files_below(store.root)) == 1


def test_after_a_failed_fsync_another_file_is_written(
    storage: Storage, store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Storage(storage.database, store, patience=30.0)
    trouble = Trouble(errno.EIO, times=2)
    # What would hold on to the number of the file that was removed.
    kept = open_kept(monkeypatch)
    monkeypatch.setattr(os, "fsync", trouble.fsync)
    save(patient, "a", DATA)
    assert len(trouble.targets) == 3
    assert len(set(trouble.targets)) == 3
    for descriptor in kept:
        os.close(descriptor)


def open_kept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keep every temporary file open, so that no other file gets its inode."""
    kept: list[int] = []
    original = os.open

    def keeping(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = original(path, flags, mode)
        if flags & os.O_EXCL:
            kept.append(os.dup(descriptor))
        return descriptor

    monkeypatch.setattr(os, "open", keeping)
    return kept


class Killed(BaseException):
    """In place of a SIGKILL."""


class PowerCut:
    """Undoes, like a power cut, what was made in folders that were not synced since.

    What is synced after a process was killed by `kill_at` is synced by others.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self._unsynced: dict[Path, list[Path]] = {}
        self._kill_at: Path | None = None
        self._fsync, self._replace, self._mkdir = os.fsync, os.replace, os.mkdir
        monkeypatch.setattr(os, "fsync", self._synced)
        monkeypatch.setattr(os, "replace", self._replaced)
        monkeypatch.setattr(os, "mkdir", self._made)

    def kill_at(self, folder: Path) -> None:
        """Kill the process that is next to sync ``folder``, before it does."""
        self._kill_at = folder

    def happen(self) -> None:
        """Undo what is not safe."""
        for paths in self._unsynced.values():
            for path in paths:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)

    def _synced(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path == self._kill_at:
            self._kill_at = None
            raise Killed
        self._fsync(descriptor)
        self._unsynced.pop(path, None)

    def _replaced(self, source: str, target: Path) -> None:
        self._replace(source, target)
        self._unsynced.setdefault(target.parent, []).append(target)

    def _made(self, path: str, mode: int = 0o777) -> None:
        self._mkdir(path, mode)
        self._unsynced.setdefault(Path(path).parent, []).append(Path(path))


@pytest.mark.parametrize("folder", ["parent", "root", "blob's"])
@pytest.mark.parametrize("staged", [False, True])
def test_what_a_killed_save_had_not_synced_is_synced_by_the_next(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, staged: bool
) -> None:
    root, name = tmp_path / "blobs", reference(DATA).sha256
    power = PowerCut(monkeypatch)
    power.kill_at({"parent": tmp_path, "root": root, "blob's": root / name[:2]}[folder])
    staging = StagedBytes({name: [DATA]})
    first = Storage(storage.database, FilesystemBlobStore(root), staging)
    with pytest.raises(Killed):
        first.apply([saving("a", DATA, staged=staged)])
    second = Storage(storage.database, FilesystemBlobStore(root), staging)
    apply(second, saving("b", DATA, staged=staged))
    power.happen()
    assert load(second, "b") == DATA
