"""Blobs that come in parts: any order, any process, never trusted before the whole is checked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client.contract import staging
from api_client.contract.operations import BlobReference
from worker.artifacts.blobs import BlobStore, FilesystemBlobStore, MemoryBlobStore
from worker.artifacts.blobs import uploads as uploads_module

HOUR = 3600.0
PART = 1000
DATA = bytes(range(256)) * 10
BLOB = BlobReference(hashlib.sha256(DATA).hexdigest(), len(DATA))
PARTS = [DATA[start : start + PART] for start in range(0, len(DATA), PART)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (staging, uploads_module):
        monkeypatch.setattr(module, "PART_BYTES", PART)
    assert staging.part_count(len(DATA)) == len(PARTS) == 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture(params=["memory", "filesystem"])
def store(request: pytest.FixtureRequest, root: Path) -> BlobStore:
    return MemoryBlobStore() if request.param == "memory" else FilesystemBlobStore(root)


@pytest.fixture
def files(root: Path) -> FilesystemBlobStore:
    return FilesystemBlobStore(root)


def put(store: BlobStore, *indexes: int) -> None:
    for index in indexes:
        store.uploads.put(BLOB, index, [PARTS[index][:7], PARTS[index][7:]])


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 1, 2, 0, 2)])
def test_parts_in_any_order_make_the_blob(store: BlobStore, order: tuple[int, ...]) -> None:
    assert store.uploads.parts(BLOB) == []
    for count, index in enumerate(order, 1):
        put(store, index)
        assert store.uploads.parts(BLOB) == sorted({*order[:count]})
    assert not store.contains(BLOB.sha256, BLOB.size)
    assert store.uploads.finish(BLOB)
    assert store.contains(BLOB.sha256, BLOB.size)
    assert store.read(BLOB.sha256, 0, BLOB.size) == DATA
    assert store.uploads.parts(BLOB) == []


@pytest.mark.parametrize("there", [(), (0, 1), (2,)])
def test_without_all_parts_there_is_no_blob(store: BlobStore, there: tuple[int, ...]) -> None:
    put(store, *there)
    assert not store.uploads.finish(BLOB)
    assert not store.contains(BLOB.sha256, BLOB.size)
    assert store.uploads.parts(BLOB) == [*there]


def test_parts_that_make_something_else_are_removed_and_may_come_again(store: BlobStore) -> None:
    put(store, 0, 2)
    store.uploads.put(BLOB, 1, [bytes(PART)])
    assert not store.uploads.finish(BLOB)
    assert not store.contains(BLOB.sha256, BLOB.size)
    assert store.uploads.parts(BLOB) == []
    put(store, 0, 1, 2)
    assert store.uploads.finish(BLOB)


def test_a_wrong_part_is_replaced_by_the_right_one(store: BlobStore) -> None:
    put(store, 0, 2)
    store.uploads.put(BLOB, 1, [bytes(PART)])
    put(store, 1)
    assert store.uploads.finish(BLOB)


def test_a_finished_blob_is_young(files: FilesystemBlobStore, root: Path) -> None:
    put(files, 0, 1, 2)
    (upload,) = (path for path in (root / "uploads").iterdir() if not path.suffix)
    os.utime(upload, (0, 0))
    assert files.uploads.finish(BLOB)
    assert list(files.older_than(HOUR)) == []


def test_finishing_leaves_nothing_but_the_blob(files: FilesystemBlobStore, root: Path) -> None:
    put(files, 0, 1, 2)
    assert files.uploads.finish(BLOB)
    assert everything(root) == [f"{BLOB.sha256[:2]}/{BLOB.sha256}"]


def test_another_process_sees_the_parts(files: FilesystemBlobStore, root: Path) -> None:
    put(files, 0)
    other = FilesystemBlobStore(root)
    assert other.uploads.parts(BLOB) == [0]
    put(other, 1, 2)
    assert files.uploads.finish(BLOB)


def test_an_unfinished_upload_is_swept_when_nobody_has_worked_on_it(
    files: FilesystemBlobStore, root: Path
) -> None:
    put(files, 0)
    assert list(files.older_than(HOUR)) == []
    assert len(everything(root)) == 2
    for path in (root / "uploads").iterdir():
        os.utime(path, (0, 0))
    assert list(files.older_than(HOUR)) == []
    assert everything(root) == []
    assert files.uploads.parts(BLOB) == []


def test_an_unfinished_upload_in_memory_is_swept_likewise() -> None:
    store = MemoryBlobStore()
    put(store, 0)
    list(store.older_than(HOUR))
    assert store.uploads.parts(BLOB) == [0]
    store.uploads._touched[BLOB] -= 2 * HOUR
    list(store.older_than(HOUR))
    assert store.uploads.parts(BLOB) == []


@pytest.fixture
def upload(files: FilesystemBlobStore, root: Path) -> Iterator[int]:
    """A file with two of three parts, open in somebody else's hands."""
    put(files, 0, 1)
    descriptor = os.open(root / "uploads" / f"{BLOB.sha256}-{BLOB.size}", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_nobody_writes_while_the_whole_is_read(files: FilesystemBlobStore, upload: int) -> None:
    fcntl.flock(upload, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        put(files, 2)
    fcntl.flock(upload, fcntl.LOCK_UN)
    put(files, 2)
    assert files.uploads.finish(BLOB)


def test_nobody_reads_the_whole_while_a_part_is_written(
    files: FilesystemBlobStore, upload: int
) -> None:
    put(files, 2)
    fcntl.flock(upload, fcntl.LOCK_SH)
    with pytest.raises(BlockingIOError):
        files.uploads.finish(BLOB)
    put(files, 2)
    fcntl.flock(upload, fcntl.LOCK_UN)
    assert files.uploads.finish(BLOB)


def test_an_upload_in_use_is_not_swept(files: FilesystemBlobStore, root: Path, upload: int) -> None:
    fcntl.flock(upload, fcntl.LOCK_SH)
    for path in (root / "uploads").iterdir():
        os.utime(path, (0, 0))
    list(files.older_than(HOUR))
    assert files.uploads.parts(BLOB) == [0, 1]


def test_a_late_part_does_not_reach_the_finished_blob(
    files: FilesystemBlobStore, upload: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The writer has opened the upload when another process finishes it.
    put(files, 2)
    flock = fcntl.flock
    finished: list[bool] = []

    def late(descriptor: int, kind: int) -> None:
        if not finished:
            finished.append(True)
            assert files.uploads.finish(BLOB)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(FileNotFoundError):
        files.uploads.put(BLOB, 1, [bytes(PART)])
    assert files.read(BLOB.sha256, 0, BLOB.size) == DATA


def test_two_who_finish_at_once_both_end_well(
    files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, 0, 1, 2)
    other = FilesystemBlobStore(root)
    replace = os.replace
    seen: list[type[BaseException]] = []

    def competing(source: Path, target: Path) -> None:
        try:
            other.uploads.finish(BLOB)
        except BlockingIOError as error:
            seen.append(type(error))
        replace(source, target)

    monkeypatch.setattr(os, "replace", competing)
    assert files.uploads.finish(BLOB)
    assert seen == [BlockingIOError]
    assert not other.uploads.finish(BLOB)
    assert other.contains(BLOB.sha256, BLOB.size)


def test_a_part_is_on_disk_before_it_counts_and_the_whole_before_it_has_its_name(
    files: FilesystemBlobStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, 1, 2)
    files.put(BLOB.sha256, BLOB.size, [DATA])
    files.delete(BLOB.sha256)
    watched: list[str] = []

    def watch(name: str, what: str) -> None:
        original = getattr(os, name)

        def watching(target: int | Path, *rest: object) -> object:
            result = original(target, *rest)
            path = target if isinstance(target, Path) else os.readlink(f"/proc/self/fd/{target}")
            watched.append(f"{what} {Path(path).relative_to(root)}")
            return result

        monkeypatch.setattr(os, name, watching)

    for name, what in (("fdatasync", "sync"), ("fsync", "sync"), ("pwrite", "write")):
        watch(name, what)
    watch("replace", "name")
    put(files, 0)
    assert files.uploads.finish(BLOB)
    upload = f"uploads/{BLOB.sha256}-{BLOB.size}"
    assert watched == [
        *[f"write {upload}"] * 2,
        f"sync {upload}",
        f"write {upload}.parts",
        f"sync {upload}",
        f"name {upload}",
        f"sync {BLOB.sha256[:2]}",
    ]


def test_marks_that_a_crash_has_left_without_their_parts_are_found_out(
    files: FilesystemBlobStore, root: Path
) -> None:
    put(files, 0, 1)
    (root / "uploads" / f"{BLOB.sha256}-{BLOB.size}.parts").write_bytes(b"\x01" * 3)
    assert not files.uploads.finish(BLOB)
    assert everything(root) == []


def test_a_write_that_the_system_cuts_short_goes_on(
    files: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda d, data, offset: pwrite(d, data[:100], offset))
    put(files, 0, 1, 2)
    assert files.uploads.finish(BLOB)


@pytest.mark.parametrize("name", ["../x", "A" * 64, ""])
def test_only_hashes_name_uploads(files: FilesystemBlobStore, root: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        files.uploads.put(BlobReference(name, 5), 0, [b"bytes"])
    assert not root.exists()


def test_files_have_the_permissions_that_the_umask_leaves(
    files: FilesystemBlobStore, root: Path
) -> None:
    before = os.umask(0o002)
    try:
        put(files, 0, 1, 2)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / "uploads").iterdir()}
        files.uploads.finish(BLOB)
    finally:
        os.umask(before)
    assert modes == {0o664}
    assert stat.S_IMODE((root / BLOB.sha256[:2] / BLOB.sha256).stat().st_mode) == 0o664
