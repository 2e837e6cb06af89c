"""What the verification of blobs finds, and what it moves aside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select

from api_client.contract.keys import ArtifactKey
from api_client.contract.operations import SaveArtifact
from tests.support.artifacts import apply, delete, message, reference, save
from worker.artifacts import references
from worker.artifacts.blobs import FilesystemBlobStore, MemoryBlobStore
from worker.artifacts.references import Scope, Total, blobs_of, total
from worker.artifacts.sweep import sweep_blobs
from worker.artifacts.verify import Damage, Verification, examine
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.schema import blobs
from worker.storage import Storage

DATA = b"the bytes that were saved" * 10
FLIPPED = bytes([DATA[0] ^ 1]) + DATA[1:]


@pytest.fixture
def files(tmp_path: Path) -> FilesystemBlobStore:
    return FilesystemBlobStore(tmp_path / "blobs")


@pytest.fixture
def storage(files: FilesystemBlobStore) -> Iterator[Storage]:
    database = Database(DatabaseOptions("sqlite://"))
    upgrade(database)
    yield Storage(database, files, patience=0)
    database.close()


def place(files: FilesystemBlobStore, data: bytes) -> Path:
    name = reference(data).sha256
    return files.root / name[:2] / name


def found(storage: Storage, scope: Scope | None = None) -> list[Damage]:
    return list(Verification(storage.database, storage.blobs, scope).run())


class TestExamining:
    @pytest.mark.parametrize("data", [DATA, b"", b"x" * 5_000_000])
    def test_a_whole_blob_is_read_to_its_end(self, data: bytes) -> None:
        store = MemoryBlobStore()
        store.put(reference(data).sha256, len(data), [data])
        read: list[int] = []
        assert examine(store, reference(data), read.append) is None
        assert sum(read) == len(data)

    @pytest.mark.parametrize(
        ("stored", "problem"),
        [
            (FLIPPED, "hash"),
            (DATA[:-1], "size"),
            (DATA + b"more", "size"),
            (b"", "size"),
            (None, "missing"),
        ],
    )
    def test_a_wrong_blob_is_told(
        self, files: FilesystemBlobStore, stored: bytes | None, problem: str
    ) -> None:
        files.put(reference(DATA).sha256, len(DATA), [DATA])
        if stored is None:
            place(files, DATA).unlink()
        else:
            place(files, DATA).write_bytes(stored)
        fault = examine(files, reference(DATA))
        assert fault is not None
        assert fault.problem == problem

    def test_a_longer_blob_is_not_read_to_its_end(self, files: FilesystemBlobStore) -> None:
        files.put(reference(DATA).sha256, len(DATA), [DATA])
        os.truncate(place(files, DATA), 10**9)
        read: list[int] = []
        fault = examine(files, reference(DATA), read.append)
        assert fault is not None
        assert fault.problem == "size"
        assert sum(read) < 10**8

    def test_a_blob_that_cannot_be_read_does_not_end_the_pass(
        self, files: FilesystemBlobStore
    ) -> None:
        place(files, DATA).mkdir(parents=True)
        fault = examine(files, reference(DATA))
        assert fault is not None
        assert fault.problem == "unreadable"
        assert fault.detail == "Is a directory"


class TestVerification:
    def test_nothing_is_wrong(self, storage: Storage) -> None:
        for number, data in enumerate((DATA, DATA, b"", b"other")):
            save(storage, f"a{number}", data)
        verification = Verification(storage.database, storage.blobs)
        assert list(verification.run()) == []
        tally = verification.tally
        assert (tally.blobs, tally.bytes, tally.wrong) == (3, len(DATA) + 5, 0)

    def test_every_version_of_a_wrong_blob_is_told(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        for name in ("a", "a", "user:b", "c"):
            save(storage, name, b"other" if name == "c" else DATA)
        place(files, DATA).write_bytes(FLIPPED)
        expected = {
            "app": "app",
            "user": "user",
            "size": len(DATA),
            "sha256": reference(DATA).sha256,
            "problem": "hash",
            "detail": "the bytes have another hash",
            "quarantined": False,
        }
        assert found(storage) == [
            Damage(**expected, session="session", name="a", version=1),  # type: ignore[arg-type]
            Damage(**expected, session="session", name="a", version=2),  # type: ignore[arg-type]
            Damage(**expected, session=None, name="user:b", version=1),  # type: ignore[arg-type]
        ]

    def test_each_problem_is_told(self, storage: Storage, files: FilesystemBlobStore) -> None:
        for number in range(3):
            save(storage, f"{number}", DATA + b"%d" % number)
        place(files, DATA + b"0").unlink()
        place(files, DATA + b"1").write_bytes(DATA)
        place(files, DATA + b"2").write_bytes(DATA + b"?")
        wrong = {damage.name: damage.problem for damage in found(storage)}
        assert wrong == {"0": "missing", "1": "size", "2": "hash"}

    def test_only_what_is_asked_for_is_read(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        for app in ("app-1", "app-2"):
            for user in ("user-1", "user-2"):
                for name in ("a", "user:b"):
                    data = f"{app} {user} {name}".encode()
                    where = ArtifactKey(app, user, "session", name)
                    apply(storage, message(SaveArtifact(key=where, mime_type="x/y", data=data)))
                    place(files, data).unlink()
        assert len(found(storage)) == 8
        assert total(storage.database, Scope()).blobs == 8
        for scope, count in (
            (Scope(app="app-1"), 4),
            (Scope(user="user-1"), 4),
            (Scope(app="app-1", user="user-2"), 2),
            (Scope("app-1", "user-2", "session"), 1),
            (Scope(session="session"), 4),
            (Scope(app="nobody"), 0),
        ):
            assert len(found(storage, scope)) == count
            assert total(storage.database, scope).blobs == count

    def test_what_nothing_refers_to_is_not_read(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        save(storage, "a", DATA)
        delete(storage, "a")
        place(files, DATA).unlink()
        assert found(storage) == []
        assert total(storage.database, Scope()) == Total(0, 0)

    def test_many_blobs_and_versions_are_read_in_pages(
        self, storage: Storage, files: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(references, "_PAGE", 3)
        for number in range(7):
            save(storage, f"a{number}", DATA + b"%d" % number)
            save(storage, "b", DATA)
        assert len({blob.sha256 for blob in blobs_of(storage.database, Scope())}) == 8
        assert len(list(blobs_of(storage.database, Scope()))) == 8
        place(files, DATA).unlink()
        assert [damage.version for damage in found(storage)] == [*range(1, 8)]

    def test_a_version_that_was_deleted_and_swept_meanwhile_is_no_damage(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        save(storage, "a", DATA)
        save(storage, "b", b"other")

        class Sweeping(FilesystemBlobStore):
            def read(self, sha256: str, start: int, length: int) -> bytes:
                delete_and_sweep()
                return super().read(sha256, start, length)

        def delete_and_sweep() -> None:
            while names:
                delete(storage, names.pop())
            sweep_blobs(storage.database, files, grace=-1.0)

        names = ["a", "b"]
        assert list(Verification(storage.database, Sweeping(files.root)).run()) == []

    def test_a_blob_that_is_mended_while_it_is_read_is_no_damage(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        save(storage, "a", DATA)
        place(files, DATA).write_bytes(FLIPPED)

        class Mending(FilesystemBlobStore):
            def read(self, sha256: str, start: int, length: int) -> bytes:
                read = super().read(sha256, start, length)
                save(storage, "b", DATA)
                return read

        assert list(Verification(storage.database, Mending(files.root)).run()) == []


class TestQuarantine:
    def verify(self, storage: Storage) -> list[Damage]:
        assert isinstance(storage.blobs, FilesystemBlobStore)
        quarantine = Verification(storage.database, storage.blobs, quarantine=storage.blobs)
        return list(quarantine.run())

    @pytest.mark.parametrize("stored", [FLIPPED, DATA[:5], DATA + b"more", b""])
    def test_a_damaged_blob_is_moved_and_the_next_save_keeps_it_anew(
        self, storage: Storage, files: FilesystemBlobStore, stored: bytes
    ) -> None:
        save(storage, "a", DATA)
        place(files, DATA).write_bytes(stored)
        (damage,) = self.verify(storage)
        assert damage.quarantined
        assert (files.root / "damaged" / reference(DATA).sha256).read_bytes() == stored
        assert [d.problem for d in found(storage)] == ["missing"]
        assert not files.contains(reference(DATA).sha256, len(DATA))
        with storage.database.read.begin() as connection:
            assert connection.scalars(select(blobs.c.size)).all() == [len(DATA)]
        save(storage, "b", DATA)
        assert found(storage) == []

    def test_what_is_whole_missing_or_unreadable_stays(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        for data in (DATA, b"missing", b"unreadable"):
            save(storage, "a", data)
        for data in (b"missing", b"unreadable"):
            place(files, data).unlink()
        place(files, b"unreadable").mkdir()
        assert [damage.quarantined for damage in self.verify(storage)] == [False, False]
        assert place(files, DATA).read_bytes() == DATA
        assert not (files.root / "damaged").exists()

    def test_the_sweep_leaves_it_to_the_operator(
        self, storage: Storage, files: FilesystemBlobStore
    ) -> None:
        save(storage, "a", DATA)
        place(files, DATA).write_bytes(FLIPPED)
        self.verify(storage)
        delete(storage, "a")
        sweep_blobs(storage.database, files, grace=-1.0)
        assert (files.root / "damaged" / reference(DATA).sha256).exists()

    def test_bytes_that_a_save_has_just_put_right_stay(self, files: FilesystemBlobStore) -> None:
        files.put(reference(DATA).sha256, len(DATA), [DATA])
        place(files, DATA).write_bytes(FLIPPED)

        class Mending(AbstractContextManager[None]):
            def __enter__(self) -> None:
                files.put(reference(DATA).sha256, len(DATA), [DATA])

            def __exit__(self, *_: object) -> None:
                pass

        assert not files.set_aside(reference(DATA).sha256, len(DATA), Mending())
        assert place(files, DATA).read_bytes() == DATA

    @pytest.mark.parametrize("there", [True, False])
    def test_nothing_happens_to_a_blob_without_damage(
        self, files: FilesystemBlobStore, there: bool
    ) -> None:
        if there:
            files.put(reference(DATA).sha256, len(DATA), [DATA])
        assert not files.set_aside(reference(DATA).sha256, len(DATA), nullcontext())
        assert place(files, DATA).exists() is there
