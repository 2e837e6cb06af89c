"""One suite over every blob store, and what only files can get wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from api_client.contract import durability
from api_client.contract.errors import InvalidRequest
from worker.artifacts.blobs import (
    BlobStore,
    FilesystemBlobStore,
    MemoryBlobStore,
    open_blob_store,
)
from worker.artifacts.blobs import batch as batch_module
from worker.artifacts.blobs import known as known_module
from worker.artifacts.blobs.base import BlobMismatch

PATIENCE = 30.0
DATA = b"some bytes \x00\xff" * 10
HOUR = 3600.0


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: BlobStore, data: bytes) -> str:
    store.put(sha256(data), len(data), [data[:7], data[7:]])
    return sha256(data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs" / "root"


@pytest.fixture(params=["memory", "filesystem"])
def store(request: pytest.FixtureRequest, root: Path) -> BlobStore:
    return MemoryBlobStore() if request.param == "memory" else FilesystemBlobStore(root)


@pytest.fixture
def files(root: Path) -> FilesystemBlobStore:
    return FilesystemBlobStore(root)


def make_older(store: BlobStore, name: str, seconds: float) -> None:
    """Let a blob look as if it had been put ``seconds`` earlier."""
    if isinstance(store, FilesystemBlobStore):
        place = store.root / name[:2] / name
        os.utime(place, (place.stat().st_mtime - seconds,) * 2)
    else:
        assert isinstance(store, MemoryBlobStore)
        store._touched[name] -= seconds


def failing() -> Iterator[bytes]:
    yield DATA[:20]
    raise OSError("the source is gone")


class TestEveryStore:
    @pytest.mark.parametrize("data", [DATA, b"", b"x", bytes(range(256)) * 9000])
    def test_what_was_put_is_read(self, store: BlobStore, data: bytes) -> None:
        name = put(store, data)
        assert store.contains(name, len(data))
        assert store.read(name, 0, len(data)) == data

    @pytest.mark.parametrize(
        ("start", "length"), [(0, 5), (3, 4), (len(DATA) - 2, 10), (len(DATA), 5), (999, 1), (0, 0)]
    )
    def test_a_range_is_read(self, store: BlobStore, start: int, length: int) -> None:
        name = put(store, DATA)
        assert store.read(name, start, length) == DATA[start : start + length]

    def test_an_unknown_blob_is_not_there(self, store: BlobStore) -> None:
        put(store, DATA)
        unknown = sha256(b"unknown")
        assert not store.contains(unknown, 0)
        assert not store.contains(unknown, len(DATA))
        with pytest.raises(FileNotFoundError):
            store.read(unknown, 0, 1)

    def test_a_blob_of_another_size_is_not_the_one_asked_for(self, store: BlobStore) -> None:
        name = put(store, DATA)
        assert not store.contains(name, len(DATA) + 1)
        assert not store.contains(name, 0)

    def test_putting_it_again_is_harmless(self, store: BlobStore) -> None:
        name = put(store, DATA)
        assert put(store, DATA) == name
        assert store.read(name, 0, 1000) == DATA
        assert list(store.older_than(-HOUR)) == [name]

    @pytest.mark.parametrize(
        ("name", "size", "chunks"),
        [
            (sha256(DATA), len(DATA), [DATA[:-1]]),
            (sha256(DATA), len(DATA), [DATA, b"more"]),
            (sha256(DATA), len(DATA), [DATA[:-1] + b"?"]),
            (sha256(DATA), len(DATA), []),
            (sha256(DATA), len(DATA) + 1, [DATA]),
            (sha256(b"else"), len(DATA), [DATA]),
        ],
        ids=["short", "long", "changed", "none", "size", "hash"],
    )
    def test_other_bytes_than_announced_are_refused_and_leave_nothing(
        self, store: BlobStore, name: str, size: int, chunks: list[bytes]
    ) -> None:
        with pytest.raises(BlobMismatch):
            store.put(name, size, chunks)
        assert not store.contains(name, size)
        assert list(store.older_than(-HOUR)) == []

    def test_a_refused_put_does_not_harm_the_blob_that_is_there(self, store: BlobStore) -> None:
        name = put(store, DATA)
        with pytest.raises(BlobMismatch):
            store.put(name, len(DATA), [b"something else"])
        assert store.read(name, 0, 1000) == DATA

    def test_a_source_that_fails_leaves_nothing(self, store: BlobStore) -> None:
        with pytest.raises(OSError, match="the source is gone"):
            store.put(sha256(DATA), len(DATA), failing())
        assert not store.contains(sha256(DATA), len(DATA))
        assert list(store.older_than(-HOUR)) == []

    def test_a_longer_source_is_not_read_to_its_end(self, store: BlobStore) -> None:
        taken: list[int] = []

        def endless() -> Iterator[bytes]:
            for number in range(10**6):
                taken.append(number)
                yield DATA

        with pytest.raises(BlobMismatch):
            store.put(sha256(DATA), len(DATA), endless())
        assert len(taken) <= 3

    def test_a_deleted_blob_is_gone(self, store: BlobStore) -> None:
        name, other = put(store, DATA), put(store, b"other")
        store.delete(name)
        store.delete(name)
        assert not store.contains(name, len(DATA))
        with pytest.raises(FileNotFoundError):
            store.read(name, 0, 1)
        assert list(store.older_than(-HOUR)) == [other]
        put(store, DATA)
        assert store.read(name, 0, 1000) == DATA

    def test_only_blobs_of_an_age_are_listed(self, store: BlobStore) -> None:
        old, new = put(store, b"old"), put(store, b"new")
        make_older(store, old, 2 * HOUR)
        assert list(store.older_than(HOUR)) == [old]
        assert list(store.older_than(3 * HOUR)) == []
        assert sorted(store.older_than(-HOUR)) == sorted([old, new])

    def test_only_what_is_old_expires(self, store: BlobStore) -> None:
        old, new = put(store, b"old"), put(store, b"new")
        make_older(store, old, 2 * HOUR)
        assert not store.expire(old, 3 * HOUR)
        assert not store.expire(new, HOUR)
        assert sorted(store.older_than(-HOUR)) == sorted([old, new])
        assert store.expire(old, HOUR)
        assert store.expire(old, HOUR), "it is gone already"
        assert list(store.older_than(-HOUR)) == [new]

    @pytest.mark.parametrize("reuse", ["contains", "put"])
    def test_a_blob_used_after_it_was_listed_does_not_expire(
        self, store: BlobStore, reuse: str
    ) -> None:
        name = put(store, DATA)
        make_older(store, name, 2 * HOUR)
        assert list(store.older_than(HOUR)) == [name]
        if reuse == "put":
            put(store, DATA)
        else:
            store.contains(name, len(DATA))
        assert not store.expire(name, HOUR)
        assert store.read(name, 0, 1000) == DATA

    @pytest.mark.parametrize("reuse", ["contains", "put"])
    def test_a_blob_used_again_is_young_again(self, store: BlobStore, reuse: str) -> None:
        name = put(store, DATA)
        make_older(store, name, 2 * HOUR)
        if reuse == "put":
            put(store, DATA)
        else:
            store.contains(name, len(DATA))
        assert list(store.older_than(HOUR)) == []

    def test_a_blob_asked_for_in_vain_or_read_does_not_become_younger(
        self, store: BlobStore
    ) -> None:
        name = put(store, DATA)
        make_older(store, name, 2 * HOUR)
        store.contains(name, len(DATA) + 1)
        store.read(name, 0, 5)
        assert list(store.older_than(HOUR)) == [name]

    def test_deleting_while_listing_goes_on(self, store: BlobStore) -> None:
        names = {put(store, b"%d" % n) for n in range(20)}
        listed = set()
        for name in store.older_than(-HOUR):
            store.delete(name)
            listed.add(name)
        assert listed == names
        assert list(store.older_than(-HOUR)) == []

    def test_a_check_leaves_nothing(self, store: BlobStore) -> None:
        store.check()
        assert list(store.older_than(-HOUR)) == []

    def test_threads_that_put_the_same_blob_all_succeed(self, store: BlobStore) -> None:
        data = bytes(range(256)) * 400
        together = threading.Barrier(8)
        failures: list[BaseException] = []

        def save() -> None:
            together.wait(PATIENCE)
            try:
                for _ in range(5):
                    put(store, data)
                    assert store.read(sha256(data), 0, len(data)) == data
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=save) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert failures == []
        assert list(store.older_than(-HOUR)) == [sha256(data)]


def everything(root: Path) -> list[str]:
    """The files under ``root``, by their path."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# A program that puts the same blob again and again.
PUTTING = """
import hashlib, sys
from pathlib import Path
from worker.artifacts.blobs import FilesystemBlobStore
data = bytes(range(256)) * 4000
store = FilesystemBlobStore(Path(sys.argv[1]))
sys.stdin.read(1)
for _ in range(20):
    store.put(hashlib.sha256(data).hexdigest(), len(data), [data])
"""


class TestFiles:
    def test_a_blob_is_named_by_its_hash_alone(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        name = put(files, DATA)
        assert everything(root) == [f"{name[:2]}/{name}"]

    @pytest.mark.parametrize(
        "name",
        ["..", "../x", "", "x" * 64, "A" * 64, "0" * 63, "0" * 65, "/" + "0" * 63, "0" * 64 + "\n"],
    )
    @pytest.mark.parametrize("use", ["put", "contains", "read", "delete", "expire", "set_aside"])
    def test_seed_fault_names_joined_into_paths_only_hashes_name_files(
        self, files: FilesystemBlobStore, root: Path, name: str, use: str
    ) -> None:
        outside = root.parent / "precious"
        root.mkdir(parents=True)
        outside.write_bytes(b"precious")
        uses: dict[str, Callable[[], object]] = {
            "put": lambda: files.put(name, 0, []),
            "contains": lambda: files.contains(name, 8),
            "read": lambda: files.read(name, 0, 8),
            "delete": lambda: files.delete(name),
            "expire": lambda: files.expire(name, 0.0),
            "set_aside": lambda: files.set_aside(name, 0, contextlib.nullcontext()),
        }
        with pytest.raises(ValueError, match="not a SHA-256"):
            uses[use]()
        assert everything(root.parent) == ["precious"]

    def test_a_failed_put_leaves_no_temporary_file(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        with pytest.raises(BlobMismatch):
            files.put(sha256(DATA), len(DATA), [b"?"])
        with pytest.raises(OSError, match="the source is gone"):
            files.put(sha256(DATA), len(DATA), failing())
        assert everything(root) == []

    def test_seed_fault_no_temp_file_flush_or_fsync(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The system is watched, not replaced: what is synced and renamed, in which order.
        watched: list[tuple[str, str, int]] = []
        fsync, replace = os.fsync, os.replace

        def watched_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            watched.append(("fsync", str(path.relative_to(root)), os.fstat(descriptor).st_size))

        def watched_replace(source: str, target: Path) -> None:
            watched.append(("rename", str(target.relative_to(root)), os.stat(source).st_size))
            replace(source, target)

        # It makes the folders, and syncs them.
        files.delete(put(files, DATA))
        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", watched_replace)
        name = put(files, DATA)

        (written, renamed, folder) = watched
        assert (written[0], Path(written[1]).parent.name, written[2]) == (
            "fsync",
            "incoming",
            len(DATA),
        )
        assert renamed == ("rename", f"{name[:2]}/{name}", len(DATA))
        assert folder[:2] == ("fsync", name[:2])

    def test_new_folders_are_synced_with_their_parents(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: set[str] = set()
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            fsync(descriptor)
            synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, "fsync", watched)
        put(files, DATA)
        assert {str(root), str(root.parent), str(root.parent.parent)} <= synced

    def test_a_damaged_file_is_replaced_by_the_next_put(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        name = put(files, DATA)
        (root / name[:2] / name).write_bytes(DATA[:5])
        assert not files.contains(name, len(DATA))
        put(files, DATA)
        assert files.read(name, 0, 1000) == DATA

    def test_leftovers_of_a_crash_are_swept_once_they_are_old(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        name = put(files, DATA)
        old, young = root / "incoming" / "tmp-old", root / "incoming" / "tmp-young"
        for leftover in (old, young):
            leftover.write_bytes(b"half a blob")
        os.utime(old, (0, 0))
        assert list(files.older_than(HOUR)) == []
        assert everything(root) == sorted([f"{name[:2]}/{name}", "incoming/tmp-young"])

    def test_a_blob_that_is_written_slowly_is_no_leftover(self, files: FilesystemBlobStore) -> None:
        def slow() -> Iterator[bytes]:
            yield DATA[:20]
            (temporary,) = (files.root / "incoming").iterdir()
            os.utime(temporary, (0, 0))
            assert list(files.older_than(HOUR)) == []
            yield DATA[20:]

        files.put(sha256(DATA), len(DATA), slow())
        assert files.read(sha256(DATA), 0, 1000) == DATA

    def test_a_name_that_was_found_is_synced(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Its writer may have been killed before it synced the folder, or be about to.
        name = put(files, DATA)
        synced: list[str] = []
        monkeypatch.setattr(
            os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        )
        other = FilesystemBlobStore(root)
        assert other.contains(name, len(DATA))
        assert synced == [str(root / name[:2])]

    def test_files_of_others_are_neither_listed_nor_removed(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        put(files, DATA)
        strangers = [root / "README", root / sha256(DATA)[:2] / "notes.txt", root / "zz" / "aaa"]
        for stranger in strangers:
            stranger.parent.mkdir(parents=True, exist_ok=True)
            stranger.write_bytes(b"?")
        assert list(files.older_than(-HOUR)) == [sha256(DATA)]
        assert all(stranger.exists() for stranger in strangers)

    def test_a_store_that_was_never_used_is_empty_and_makes_no_folder(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        assert list(files.older_than(-HOUR)) == []
        assert not files.contains(sha256(DATA), len(DATA))
        files.delete(sha256(DATA))
        assert not root.exists()

    def test_another_process_sees_the_same_blobs(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        name = put(files, DATA)
        again = FilesystemBlobStore(root)
        assert again.read(name, 0, 1000) == DATA
        again.delete(name)
        assert not files.contains(name, len(DATA))

    def test_processes_that_put_the_same_blob_all_succeed(self, root: Path) -> None:
        programs = [
            subprocess.Popen([sys.executable, "-c", PUTTING, root], stdin=subprocess.PIPE)
            for _ in range(2)
        ]
        for program in programs:
            assert program.stdin is not None
            program.stdin.write(b"x")
            program.stdin.close()
        assert [program.wait(PATIENCE) for program in programs] == [0, 0]
        data = bytes(range(256)) * 4000
        name = sha256(data)
        assert everything(root) == [f"{name[:2]}/{name}"]
        assert FilesystemBlobStore(root).read(name, 0, len(data)) == data

    def test_a_folder_that_cannot_be_written_fails_the_check(self, root: Path) -> None:
        root.parent.mkdir()
        root.write_bytes(b"a file, where the folder should be")
        with pytest.raises(OSError, match="root"):
            FilesystemBlobStore(root).check()

    def test_files_and_folders_have_the_permissions_that_the_umask_leaves(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        before = os.umask(0o002)
        try:
            with files.batch() as batch:
                batch.put(sha256(DATA), len(DATA), [DATA])
                (temporary,) = (root / "incoming").iterdir()
                assert mode(temporary) == 0o664
        finally:
            os.umask(before)
        assert mode(root / sha256(DATA)[:2] / sha256(DATA)) == 0o664
        assert mode(root / "incoming") == mode(root) == 0o775

    def test_a_blob_that_may_not_be_touched_is_put_anew(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Another user's, and not for this one to write: root may touch all, so it is refused here.
        name = put(files, DATA)
        make_older(files, name, HOUR)

        def refused(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        with monkeypatch.context() as other_user:
            other_user.setattr(os, "utime", refused)
            assert not FilesystemBlobStore(root).contains(name, len(DATA))
        before = (root / name[:2] / name).stat().st_ino
        put(files, DATA)
        assert (root / name[:2] / name).stat().st_ino != before


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestBatches:
    @pytest.mark.parametrize("count", [1, 3, 250])
    def test_all_of_a_batch_are_there_in_the_end(self, store: BlobStore, count: int) -> None:
        contents = [b"%d" % number for number in range(count)]
        with store.batch() as batch:
            for data in contents:
                batch.put(sha256(data), len(data), [data])
                assert batch.contains(sha256(data), len(data))
        for data in contents:
            assert store.contains(sha256(data), len(data))
            assert store.read(sha256(data), 0, 100) == data

    def test_a_wrong_one_does_not_spoil_the_others(self, store: BlobStore) -> None:
        with store.batch() as batch:
            batch.put(sha256(b"a"), 1, [b"a"])
            with pytest.raises(BlobMismatch):
                batch.put(sha256(b"b"), 1, [b"?"])
            batch.put(sha256(b"c"), 1, [b"c"])
        assert [store.contains(sha256(data), 1) for data in (b"a", b"b", b"c")] == [
            True,
            False,
            True,
        ]

    def test_one_content_twice_is_written_once(
        self, files: FilesystemBlobStore, root: Path
    ) -> None:
        with files.batch() as batch:
            for _ in range(3):
                batch.put(sha256(DATA), len(DATA), [DATA])
            assert len([*(root / "incoming").iterdir()]) == 1
        assert everything(root) == [f"{sha256(DATA)[:2]}/{sha256(DATA)}"]

    def test_nothing_has_its_name_before_all_are_synced(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        contents = [b"%d" % number for number in range(20)]
        watched: list[str] = []
        original, replace, folders = durability.sync_all, os.replace, durability.sync_folders

        def sync_all(descriptors: Sequence[int]) -> None:
            original(descriptors)
            watched.append(f"sync {len(descriptors)} files")

        def sync_folders(paths: Sequence[Path]) -> None:
            folders(paths)
            assert {path.parent for path in paths} == {root}
            watched.append("sync folders")

        def renamed(source: str, target: Path) -> None:
            replace(source, target)
            watched.append("rename")

        monkeypatch.setattr(batch_module, "sync_all", sync_all)
        monkeypatch.setattr(batch_module, "sync_folders", sync_folders)
        monkeypatch.setattr(os, "replace", renamed)
        with files.batch() as batch:
            for data in contents:
                batch.put(sha256(data), len(data), [data])
            assert watched == []
        assert watched == ["sync 20 files", *["rename"] * 20, "sync folders"]

    def test_files_are_not_all_open_at_once(
        self, files: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(batch_module, "_OPEN_FILES", 5)
        most = 0
        with files.batch() as batch:
            for number in range(50):
                data = b"%d" % number
                batch.put(sha256(data), len(data), [data])
                most = max(most, len(os.listdir("/proc/self/fd")) - before)
        assert most == 5
        assert len(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("where", ["block", "files", "folders"])
    def test_a_batch_that_fails_leaves_no_temporary_file(
        self,
        files: FilesystemBlobStore,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        where: str,
    ) -> None:
        def failing(_: object) -> None:
            raise OSError(errno.EIO, "the disk is broken")

        def fill() -> None:
            with files.batch() as batch:
                batch.put(sha256(DATA), len(DATA), [DATA])
                if where == "block":
                    failing(None)

        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as broken:
            name = {"files": "sync_all", "folders": "sync_folders"}.get(where, "checked")
            if where != "block":
                broken.setattr(batch_module, name, failing)
            with pytest.raises(OSError, match="the disk is broken"):
                fill()
        assert [*(root / "incoming").iterdir()] == []
        assert len(os.listdir("/proc/self/fd")) == before
        assert put(files, DATA) == sha256(DATA)

    def test_a_folder_is_synced_once_for_all_that_were_found_there(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [put(files, b"%d" % number) for number in range(300)]
        synced: list[list[Path]] = []
        monkeypatch.setattr(batch_module, "sync_folders", lambda paths: synced.append([*paths]))
        with FilesystemBlobStore(root).batch() as batch:
            for number, name in enumerate(names):
                assert batch.contains(name, len(b"%d" % number))
        assert [sorted(paths) for paths in synced] == [sorted({root / n[:2] for n in names})]


class TestRemains:
    def test_a_blob_that_was_put_or_found_remains(self, store: BlobStore) -> None:
        name = put(store, DATA)
        assert store.remains(name, len(DATA))
        assert store.contains(name, len(DATA))
        assert store.remains(name, len(DATA))

    def test_one_that_is_gone_does_not(self, store: BlobStore) -> None:
        name = put(store, DATA)
        store.delete(name)
        assert not store.remains(name, len(DATA))
        assert not store.remains(sha256(b"never"), 5)

    def test_it_costs_no_sync_unless_something_has_happened(
        self, files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = put(files, DATA)
        synced: list[int] = []
        monkeypatch.setattr(os, "fsync", synced.append)
        assert files.remains(name, len(DATA))
        assert synced == []
        # Somebody else removes it and puts it again, and is killed before the folder is synced.
        place = root / name[:2] / name
        place.unlink()
        place.write_bytes(DATA)
        assert files.remains(name, len(DATA))
        assert len(synced) == 1

    def test_only_so_many_are_remembered(
        self, files: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known_module, "_MOST", 5)
        for number in range(12):
            assert files.remains(put(files, b"%d" % number), len(b"%d" % number))
        assert len(files._known._identities) <= 5


class TestOffers:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "spooled").write_bytes(DATA)
        return tmp_path / "spooled"

    def test_the_bytes_of_a_file_become_a_blob_once(self, store: BlobStore, file: Path) -> None:
        assert store.offer(sha256(DATA), len(DATA), file)
        assert not store.offer(sha256(DATA), len(DATA), file)
        assert store.contains(sha256(DATA), len(DATA))
        assert store.read(sha256(DATA), 0, 1000) == DATA
        file.unlink()
        assert store.read(sha256(DATA), 0, 1000) == DATA

    def test_an_offer_makes_a_blob_young(self, store: BlobStore, file: Path) -> None:
        os.utime(file, (0, 0))
        store.offer(sha256(DATA), len(DATA), file)
        assert list(store.older_than(HOUR)) == []
        make_older(store, sha256(DATA), 2 * HOUR)
        store.offer(sha256(DATA), len(DATA), file)
        assert list(store.older_than(HOUR)) == []

    def test_a_file_that_has_another_size_is_refused(self, store: BlobStore, file: Path) -> None:
        file.write_bytes(DATA[:-1])
        with pytest.raises(BlobMismatch):
            store.offer(sha256(DATA), len(DATA), file)
        assert not store.contains(sha256(DATA), len(DATA))

    def test_a_file_that_is_gone_is_an_error(self, store: BlobStore, file: Path) -> None:
        file.unlink()
        with pytest.raises(FileNotFoundError):
            store.offer(sha256(DATA), len(DATA), file)

    def test_on_one_file_system_nothing_is_copied(
        self, files: FilesystemBlobStore, root: Path, file: Path
    ) -> None:
        files.offer(sha256(DATA), len(DATA), file)
        assert (root / sha256(DATA)[:2] / sha256(DATA)).samefile(file)
        assert everything(root) == [f"{sha256(DATA)[:2]}/{sha256(DATA)}"]

    def test_its_name_survives_a_crash_once_it_was_found(
        self, files: FilesystemBlobStore, root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files.offer(sha256(DATA), len(DATA), file)
        synced: list[str] = []
        monkeypatch.setattr(
            os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        )
        assert files.contains(sha256(DATA), len(DATA))
        assert synced == [str(root / sha256(DATA)[:2])]

    @pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
    def test_where_it_cannot_be_linked_it_is_copied(
        self,
        files: FilesystemBlobStore,
        root: Path,
        file: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
    ) -> None:
        def refused(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refused)
        assert files.offer(sha256(DATA), len(DATA), file)
        place = root / sha256(DATA)[:2] / sha256(DATA)
        assert place.read_bytes() == DATA
        assert not place.samefile(file)

    def test_what_is_wrong_in_its_place_is_replaced(
        self, files: FilesystemBlobStore, root: Path, file: Path
    ) -> None:
        name = put(files, DATA)
        (root / name[:2] / name).write_bytes(DATA[:5])
        assert files.offer(name, len(DATA), file)
        assert files.read(name, 0, 1000) == DATA


class TestOpening:
    @pytest.mark.parametrize(
        ("url", "folder"),
        [
            ("file:///srv/artifacts", "/srv/artifacts"),
            ("file:///srv/with%20space", "/srv/with space"),
            ("/srv/artifacts", "/srv/artifacts"),
            ("relative", f"{Path.cwd()}/relative"),
        ],
    )
    def test_a_folder_is_opened(self, url: str, folder: str) -> None:
        store = open_blob_store(url)
        assert isinstance(store, FilesystemBlobStore)
        assert store.root == Path(folder)

    def test_memory_is_opened(self) -> None:
        assert isinstance(open_blob_store("memory://"), MemoryBlobStore)

    @pytest.mark.parametrize("url", ["", "s3://bucket", "file://host/folder", "http://x/y"])
    def test_anything_else_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            open_blob_store(url)
        assert caught.value.field == "artifacts_url"
