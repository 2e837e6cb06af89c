"""The sweep, and quarantine, racing saves of the same content: no version ever lacks its bytes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import event, select

from api_client.contract.operations import BlobReference
from api_client.transport.base import BlobFile
from api_client.transport.staging import BlobStoreStager
from tests.support.artifacts import (
    HOUR,
    StagedBytes,
    apply,
    delete,
    files_below,
    load,
    make_older,
    reference,
    referred,
    save,
    saving,
    try_apply,
)
from worker.artifacts.blobs import FilesystemBlobStore
from worker.artifacts.blobs.batch import FileBatch
from worker.artifacts.sweep import SweepReport, sweep_blobs
from worker.artifacts.verify import Verification
from worker.database import Database, DatabaseOptions
from worker.schema import blobs
from worker.storage import Storage

PATIENCE = 30.0
DATA = b"what is saved again and again" * 100
NAME = reference(DATA).sha256


class Gate:
    """A point at which a thread waits until it may go on; later ones pass."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._open = threading.Event()

    def pass_through(self) -> None:
        """Wait here."""
        self._arrived.set()
        assert self._open.wait(PATIENCE)

    def reached(self) -> None:
        """Wait until somebody waits here."""
        assert self._arrived.wait(PATIENCE)

    def open(self) -> None:
        """Let everybody pass."""
        self._open.set()


class GatedBatch:
    """A batch of a `GatedStore`."""

    def __init__(self, batch: FileBatch, reach: Callable[[str], None]):
        self._batch = batch
        self._reach = reach
        self.puts = 0

    def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        self._batch.put(sha256, size, chunks)
        self.puts += 1

    def contains(self, sha256: str, size: int) -> bool:
        found = self._batch.contains(sha256, size)
        self._reach("contains")
        return found


class GatedStore(FilesystemBlobStore):
    """The view that one party has of the blob store, with gates at its calls.

    Attributes:
        gates: by what has just been done, or, for ``expire``, is about to be.
        calls: what was done so far.
    """

    def __init__(self, root: Path, **gates: Gate):
        super().__init__(root)
        self.gates = gates
        self.calls: list[str] = []

    def _reach(self, name: str) -> None:
        self.calls.append(name)
        nth = f"{name}_{self.calls.count(name)}"
        for gate in (self.gates.get(name), self.gates.get(nth)):
            if gate is not None:
                gate.pass_through()

    @contextmanager
    def batch(self) -> Iterator[FileBatch]:
        with super().batch() as batch:
            gated = GatedBatch(batch, self._reach)
            yield cast("FileBatch", gated)
        if gated.puts:
            self._reach("put")

    def remains(self, sha256: str, size: int) -> bool:
        found = super().remains(sha256, size)
        self._reach("remains")
        return found

    def older_than(self, age: float) -> Iterator[str]:
        found = list(super().older_than(age))
        self._reach("list")
        yield from found

    def expire(self, sha256: str, age: float) -> bool:
        self._reach("expire")
        return super().expire(sha256, age)


class HastyStore(GatedStore):
    """One in which a save's touch always comes just after the sweep has looked at the age."""

    def expire(self, sha256: str, age: float) -> bool:
        self._reach("expire")
        self.delete(sha256)
        return True


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """For all parties; each test begins without artifacts."""
    opened = Database(DatabaseOptions(store_url, lock_timeout=PATIENCE))
    with opened.write.begin() as connection:
        for table in ("artifact_versions", "artifacts", "blobs"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    yield opened
    opened.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def storage(database: Database, root: Path) -> Storage:
    return Storage(database, FilesystemBlobStore(root), StagedBytes({NAME: [DATA]}))


@pytest.fixture
def orphan(storage: Storage, root: Path) -> Path:
    """A blob that no version refers to any more, older than any grace period here."""
    save(storage, "former", DATA)
    delete(storage, "former")
    make_older(root, 2 * HOUR)
    return root / NAME[:2] / NAME


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


Threads = ThreadPoolExecutor


def sweep(database: Database, store: FilesystemBlobStore) -> SweepReport:
    return sweep_blobs(database, store, grace=HOUR)


def assert_whole(storage: Storage) -> None:
    assert list(Verification(storage.database, storage.blobs).run()) == []
    assert referred(storage.database) == {NAME}
    assert load(storage, "a") == DATA


def done(future: Future[Any]) -> Any:
    return future.result(PATIENCE)


@pytest.mark.parametrize("staged", [False, True])
class TestOneSave:
    def saver(self, storage: Storage, store: FilesystemBlobStore) -> Storage:
        return Storage(storage.database, store, StagedBytes({NAME: [DATA]}))

    def test_between_listing_and_removal(
        self, storage: Storage, orphan: Path, threads: Threads, staged: bool
    ) -> None:
        listed = Gate()
        store = GatedStore(orphan.parents[1], list=listed)
        swept = threads.submit(sweep, storage.database, store)
        listed.reached()
        apply(storage, saving("a", DATA, staged=staged))
        listed.open()
        assert done(swept) == SweepReport(examined=1, removed=0)
        assert_whole(storage)

    def test_that_relies_on_a_blob_which_was_listed_keeps_it(
        self, storage: Storage, orphan: Path, threads: Threads, staged: bool
    ) -> None:
        listed, taken = Gate(), Gate()
        root = orphan.parents[1]
        swept = threads.submit(sweep, storage.database, GatedStore(root, list=listed))
        listed.reached()
        store = GatedStore(root, contains_1=taken)
        saved = threads.submit(apply, self.saver(storage, store), saving("a", DATA, staged=staged))
        taken.reached()
        listed.open()
        assert done(swept).removed == 0
        taken.open()
        done(saved)
        assert "put" not in store.calls
        assert_whole(storage)

    def test_that_comes_too_late_brings_its_bytes_again(
        self, storage: Storage, orphan: Path, threads: Threads, staged: bool
    ) -> None:
        removing, taken = Gate(), Gate()
        root = orphan.parents[1]
        swept = threads.submit(sweep, storage.database, HastyStore(root, expire=removing))
        removing.reached()
        # The sweep holds the row by now, and has seen no version.
        store = GatedStore(root, contains_1=taken)
        saved = threads.submit(apply, self.saver(storage, store), saving("a", DATA, staged=staged))
        taken.reached()
        removing.open()
        assert done(swept).removed == 1
        taken.open()
        done(saved)
        assert store.calls.count("put") == 1
        assert_whole(storage)

    def test_whose_put_the_sweep_undoes_puts_again(
        self, storage: Storage, orphan: Path, threads: Threads, staged: bool
    ) -> None:
        removing, put = Gate(), Gate()
        root = orphan.parents[1]
        swept = threads.submit(sweep, storage.database, HastyStore(root, expire=removing))
        removing.reached()
        orphan.write_bytes(b"")
        store = GatedStore(root, put_1=put)
        saved = threads.submit(apply, self.saver(storage, store), saving("a", DATA, staged=staged))
        put.reached()
        removing.open()
        done(swept)
        put.open()
        done(saved)
        assert store.calls.count("put") == 2
        assert_whole(storage)

    def test_that_is_about_to_commit_keeps_the_sweep_waiting(
        self, storage: Storage, orphan: Path, threads: Threads, staged: bool
    ) -> None:
        listed, checked = Gate(), Gate()
        root = orphan.parents[1]
        swept = threads.submit(sweep, storage.database, GatedStore(root, list=listed))
        listed.reached()
        # The second look is the one that counts: with the row held, before the commit.
        store = GatedStore(root, remains=checked)
        saved = threads.submit(apply, self.saver(storage, store), saving("a", DATA, staged=staged))
        checked.reached()
        make_older(root, 2 * HOUR)
        with reaches_lock(storage.database) as locking:
            listed.open()
            assert locking.wait(PATIENCE)
        assert not swept.done()
        checked.open()
        done(saved)
        assert done(swept).removed == 0
        assert_whole(storage)

    def test_after_a_sweep_that_was_killed_brings_its_bytes_again(
        self,
        storage: Storage,
        orphan: Path,
        monkeypatch: pytest.MonkeyPatch,
        staged: bool,
    ) -> None:
        class Killed(BaseException):
            pass

        class Dying(FilesystemBlobStore):
            def expire(self, sha256: str, age: float) -> bool:
                super().expire(sha256, age)
                raise Killed

        with pytest.raises(Killed):
            sweep(storage.database, Dying(orphan.parents[1]))
        assert not orphan.exists()
        apply(storage, saving("a", DATA, staged=staged))
        assert_whole(storage)


@contextmanager
def reaches_lock(database: Database) -> Iterator[threading.Event]:
    """Set when a transaction is just about to wait for what another one holds: SQLite's write
    lock, or the row of a blob."""
    reached = threading.Event()

    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement == "BEGIN IMMEDIATE" or statement.startswith("INSERT INTO blobs"):
            reached.set()

    event.listen(database.write.engine, "before_cursor_execute", look)
    try:
        yield reached
    finally:
        event.remove(database.write.engine, "before_cursor_execute", look)


class TestDirectly:
    """Clients that put bytes into the blob store long before their message is applied."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> BlobFile:
        (tmp_path / "spooled").write_bytes(DATA)
        return BlobFile(tmp_path / "spooled", reference(DATA))

    @pytest.fixture
    def worker(self, database: Database, root: Path) -> Storage:
        return Storage(database, FilesystemBlobStore(root))

    def test_bytes_wait_for_their_message_for_the_grace_period(
        self, worker: Storage, root: Path, file: BlobFile
    ) -> None:
        BlobStoreStager(FilesystemBlobStore(root)).stage([file])
        make_older(root, HOUR - 60)
        assert sweep(worker.database, FilesystemBlobStore(root)) == SweepReport(0, 0)
        apply(worker, saving("a", DATA, staged=True))
        assert_whole(worker)

    def test_an_old_blob_that_a_client_relies_on_is_not_removed(
        self, worker: Storage, orphan: Path, root: Path, file: BlobFile, threads: Threads
    ) -> None:
        listed = Gate()
        swept = threads.submit(sweep, worker.database, GatedStore(root, list=listed))
        listed.reached()
        BlobStoreStager(FilesystemBlobStore(root)).stage([file])
        listed.open()
        assert done(swept).removed == 0
        apply(worker, saving("a", DATA, staged=True))
        assert_whole(worker)

    def test_bytes_that_waited_for_too_long_are_asked_for_again(
        self, worker: Storage, root: Path, file: BlobFile
    ) -> None:
        stager = BlobStoreStager(FilesystemBlobStore(root))
        stager.stage([file])
        make_older(root, 2 * HOUR)
        assert sweep(worker.database, FilesystemBlobStore(root)).removed == 1
        message = saving("a", DATA, staged=True)
        assert try_apply(worker, message).missing == [NAME]
        assert referred(worker.database) == set()
        stager.stage([file])
        apply(worker, message)
        assert_whole(worker)

    def test_bytes_put_early_are_put_again_when_they_are_missed(
        self, worker: Storage, root: Path, file: BlobFile
    ) -> None:
        stager = BlobStoreStager(FilesystemBlobStore(root))
        stager.stage_early(replace(file, shareable=True))
        make_older(root, 2 * HOUR)
        assert sweep(worker.database, FilesystemBlobStore(root)).removed == 1
        # The first message relies on them, and the second, sent because a worker missed them, not.
        assert stager.stage([file]) == 1
        message = saving("a", DATA, staged=True)
        assert try_apply(worker, message).missing == [NAME]
        assert stager.stage([file]) == 1
        apply(worker, message)
        assert_whole(worker)

    def test_bytes_that_cannot_be_put_early_are_put_with_their_message(
        self, worker: Storage, root: Path, file: BlobFile
    ) -> None:
        stager = BlobStoreStager(FilesystemBlobStore(root))
        content = file.path.read_bytes()
        file.path.unlink()
        stager.stage_early(replace(file, shareable=True))
        file.path.write_bytes(content)
        assert stager.stage([file]) == 1
        apply(worker, saving("a", DATA, staged=True))
        assert_whole(worker)


def test_a_sweep_changes_no_row_that_it_does_not_remove(storage: Storage, root: Path) -> None:
    save(storage, "a", DATA)
    put = reference(b"put by a client")
    storage.blobs.put(put.sha256, put.size, [b"put by a client"])
    make_older(root, 2 * HOUR)

    class Spared(FilesystemBlobStore):
        def expire(self, sha256: str, age: float) -> bool:
            self.contains(put.sha256, put.size)
            return super().expire(sha256, age)

    assert sweep(storage.database, Spared(root)) == SweepReport(examined=2, removed=0)
    with storage.database.read.begin() as connection:
        rows = connection.execute(select(blobs.c.sha256, blobs.c.size)).all()
    assert [tuple(row) for row in rows] == [(NAME, len(DATA))]


def test_the_size_of_a_row_that_was_just_made_stays(
    storage: Storage, root: Path, threads: Threads
) -> None:
    listed = Gate()
    storage.blobs.put(NAME, len(DATA), [DATA])
    make_older(root, 2 * HOUR)
    swept = threads.submit(sweep, storage.database, GatedStore(root, list=listed))
    listed.reached()
    with storage.database.write.begin() as connection:
        connection.execute(blobs.insert(), [{"sha256": NAME, "size": len(DATA)}])
        make_older(root, -3 * HOUR)
    listed.open()
    assert done(swept).removed == 0
    with storage.database.read.begin() as connection:
        assert connection.scalars(select(blobs.c.size)).all() == [len(DATA)]


def test_two_sweeps_at_once_leave_nothing(
    storage: Storage, orphan: Path, root: Path, threads: Threads
) -> None:
    first, second = Gate(), Gate()
    sweeps = [
        threads.submit(sweep, storage.database, GatedStore(root, list=gate))
        for gate in (first, second)
    ]
    for gate in (first, second):
        gate.reached()
    for gate in (first, second):
        gate.open()
    for swept in sweeps:
        done(swept)
    assert files_below(root) == []
    with storage.database.read.begin() as connection:
        assert connection.scalars(select(blobs.c.sha256)).all() == []


def test_a_row_that_is_held_for_long_does_not_end_the_sweep(
    store_url: str, storage: Storage, orphan: Path, root: Path, threads: Threads
) -> None:
    impatient = Database(DatabaseOptions(store_url, lock_timeout=0.1))
    failed = threading.Event()

    def look(context: Any) -> None:
        failed.set()

    event.listen(impatient.write.engine, "handle_error", look)
    with storage.database.write.begin() as connection:
        connection.execute(blobs.update().values(size=blobs.c.size))
        swept = threads.submit(sweep, impatient, FilesystemBlobStore(root))
        assert failed.wait(PATIENCE)
    assert done(swept).removed == 1
    impatient.close()


class TestQuarantine:
    def test_a_save_that_relied_on_a_damaged_blob_brings_its_bytes(
        self, storage: Storage, root: Path, threads: Threads
    ) -> None:
        save(storage, "former", DATA)
        (root / NAME[:2] / NAME).write_bytes(DATA[::-1])
        taken = Gate()
        store = GatedStore(root, contains_1=taken)
        late = Storage(storage.database, store, StagedBytes({NAME: [DATA]}))
        saved = threads.submit(apply, late, saving("a", DATA, staged=True))
        taken.reached()
        aside = FilesystemBlobStore(root)
        (damage,) = Verification(storage.database, aside, quarantine=aside).run()
        assert damage.quarantined
        taken.open()
        done(saved)
        assert_whole(storage)

    def test_no_blob_is_moved_while_a_save_that_relies_on_it_commits(
        self, storage: Storage, root: Path, threads: Threads
    ) -> None:
        save(storage, "former", DATA)
        (root / NAME[:2] / NAME).write_bytes(DATA[::-1])
        checked = Gate()
        late = Storage(
            storage.database,
            GatedStore(root, remains=checked),
            StagedBytes({NAME: [DATA]}),
        )
        saved = threads.submit(apply, late, saving("a", DATA, staged=True))
        checked.reached()
        aside = FilesystemBlobStore(root)
        verification = Verification(storage.database, aside, quarantine=aside)
        with reaches_lock(storage.database) as locking:
            found = threads.submit(lambda: list(verification.run()))
            assert locking.wait(PATIENCE)
        assert not found.done()
        checked.open()
        done(saved)
        assert {(damage.name, damage.quarantined) for damage in done(found)} >= {("former", True)}


CONTENTS = [b"%d" % number * 50 for number in range(4)]


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_of_saves_deletions_and_sweeps(
    database: Database, root: Path, threads: Threads, seed: int
) -> None:
    due = threading.Semaphore(0)

    def act(number: int, own: random.Random, storage: Storage) -> None:
        for turn in range(25):
            name, data = f"{number}-{turn}", own.choice(CONTENTS)
            due.release()
            apply(storage, saving(name, data, staged=own.random() < 0.5))
            assert load(storage, name) == data
            if turn != 24:
                delete(storage, name)

    def keep_sweeping() -> int:
        removed = 0
        for _ in range(3 * 25):
            assert due.acquire(timeout=PATIENCE)
            # No grace at all: only locks and second looks protect the saves.
            removed += sweep_blobs(database, FilesystemBlobStore(root), grace=-1.0).removed
        return removed

    sweeping = threads.submit(keep_sweeping)
    acting = [
        threads.submit(act, number, random.Random(f"{seed} {number}"), worker(database, root))
        for number in range(3)
    ]
    for actor in acting:
        done(actor)
    assert done(sweeping) > 0
    storage = worker(database, root)
    assert list(Verification(database, storage.blobs).run()) == []
    sweep_blobs(database, storage.blobs, grace=-1.0)
    assert {path.name for path in files_below(root)} == referred(database)


class Everlasting(StagedBytes):
    """Staged bytes that stay when a save is done with them, for the next one."""

    def discard(self, blobs: Sequence[BlobReference]) -> None:
        pass


def worker(database: Database, root: Path) -> Storage:
    staging = Everlasting({reference(data).sha256: [data] for data in CONTENTS})
    return Storage(database, FilesystemBlobStore(root), staging)
