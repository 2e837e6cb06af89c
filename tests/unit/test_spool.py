"""The bytes of large saves beside the outbox: there in full before their save is accepted."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from api_client.contract import durability
from api_client.contract.errors import TooLarge
from api_client.contract.limits import MAX_ARTIFACT_BYTES
from api_client.contract.operations import BlobReference
from api_client.outbox import together
from api_client.outbox.spool import Spool

CHUNKS = [b"one", b"", b"two", b"\x00" * 70_000]
DATA = b"".join(CHUNKS)
REFERENCE = BlobReference(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db.spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder)


def failing() -> Iterator[bytes]:
    yield b"some bytes"
    raise OSError("the disk is gone")


class Endless:
    """Pretends to be more bytes than an artifact may have, without making them."""

    def __len__(self) -> int:
        return MAX_ARTIFACT_BYTES + 1


def test_the_bytes_are_kept_and_measured_in_one_pass(spool: Spool, folder: Path) -> None:
    blob = spool.write(7, iter(CHUNKS))
    assert blob.reference == REFERENCE
    assert blob.path == folder / "7"
    assert blob.path.read_bytes() == DATA


def test_nothing_at_all_is_kept_too(spool: Spool) -> None:
    blob = spool.write(1, [])
    assert blob.reference == BlobReference(hashlib.sha256().hexdigest(), 0)
    assert blob.path.read_bytes() == b""


def test_a_restarted_client_finds_what_was_written(spool: Spool, folder: Path) -> None:
    written = spool.write(7, CHUNKS)
    spool.close()
    assert Spool(folder).find(7, REFERENCE) == written
    assert written.path.read_bytes() == DATA


def test_file_and_folder_are_synced_before_it_is_told(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The seed wrote without fsync. Here the system is watched, not replaced.
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((name, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", watched)
    told: list[list[str]] = []
    blob = spool.write(7, CHUNKS)
    spool.settle(blob, lambda error: told.append([name for name, _ in synced]))
    names = [name for name, _ in synced]
    assert names == [str(folder.parent), str(folder / "7"), str(folder)]
    assert dict(synced)[str(folder / "7")] == len(DATA)
    assert told == [names]


def test_a_source_that_fails_leaves_nothing(spool: Spool, folder: Path) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        spool.write(1, failing())
    assert list(folder.iterdir()) == []


def test_more_than_an_artifact_may_have_leaves_nothing(spool: Spool, folder: Path) -> None:
    with pytest.raises(TooLarge) as caught:
        spool.write(1, [b"x", Endless()])  # type: ignore[list-item]
    assert (caught.value.field, caught.value.limit) == ("data", MAX_ARTIFACT_BYTES)
    assert list(folder.iterdir()) == []


def test_confirmed_saves_are_removed_once_or_twice(spool: Spool, folder: Path) -> None:
    first, second = spool.write(1, CHUNKS), spool.write(2, CHUNKS)
    spool.remove([first])
    spool.remove([first])
    assert list(folder.iterdir()) == [second.path]


def test_what_a_killed_client_had_not_accepted_is_removed(spool: Spool, folder: Path) -> None:
    for number in (1, 2, 12):
        spool.write(number, CHUNKS)
    Spool(folder).keep_only({2, 3}.__contains__)
    assert [path.name for path in folder.iterdir()] == ["2"]


def test_a_spool_that_was_never_used_makes_no_folder(spool: Spool, folder: Path) -> None:
    spool.keep_only({1}.__contains__)
    spool.close()
    assert not folder.exists()


def test_the_folder_is_closed_to_others(spool: Spool, folder: Path) -> None:
    spool.write(1, CHUNKS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_beside_a_file_outlives_the_client(spool: Spool, folder: Path) -> None:
    spool.write(1, CHUNKS)
    spool.close()
    assert (folder / "1").read_bytes() == DATA


def test_a_temporary_folder_ends_with_the_client() -> None:
    temporary = Spool(None)
    blob = temporary.write(1, CHUNKS)
    assert blob.path.read_bytes() == DATA
    temporary.close()
    assert not blob.path.parent.exists()


def test_the_files_of_a_temporary_folder_are_synced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # They may become blobs as they are, and those outlive the client.
    synced: list[str] = []
    original = durability.sync_all

    def watched(descriptors: Sequence[int]) -> None:
        synced.extend(os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in descriptors)
        original(descriptors)

    monkeypatch.setattr(together, "sync_all", watched)
    temporary = Spool(None)
    blob = temporary.write(1, CHUNKS)
    temporary.settle(blob, lambda error: None)
    temporary.close()
    assert synced == [str(blob.path), str(blob.path.parent)]


def test_files_of_one_moment_share_a_sync(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    original = durability.sync_all
    running, go_on = threading.Event(), threading.Event()

    def watched(descriptors: Sequence[int]) -> None:
        synced.append(len(descriptors) - 1)
        original(descriptors)
        running.set()
        assert go_on.wait(30)

    monkeypatch.setattr(together, "sync_all", watched)
    told: list[OSError | None] = []
    blobs = [spool.write(number, CHUNKS) for number in range(20)]
    first = threading.Thread(target=spool.settle, args=(blobs[0], told.append))
    first.start()
    assert running.wait(30)
    for blob in blobs[1:]:
        spool.settle(blob, told.append)
    assert told == []
    go_on.set()
    first.join(30)
    assert synced == [1, 19]
    assert told == [None] * 20


def test_a_file_that_cannot_be_synced_is_removed(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptors: Sequence[int]) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(together, "sync_all", failing)
    told: list[OSError | None] = []
    spool.settle(spool.write(1, CHUNKS), told.append)
    assert [str(error) for error in told] == ["[Errno 5] the disk is broken"]
    assert list(folder.iterdir()) == []


def test_a_large_file_is_synced_before_it_joins_the_others(
    spool: Spool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    spool.write(1, CHUNKS)
    monkeypatch.setattr(os, "fsync", watched)
    spool.write(2, CHUNKS)
    assert synced == []
    spool.write(3, [bytes(2**24), b"more"])
    assert synced == [str(folder / "3")]


def test_the_blob_store_may_share_what_was_just_written_and_survives_a_crash(
    spool: Spool, folder: Path
) -> None:
    assert spool.write(1, CHUNKS).shareable
    assert not Spool(folder).find(1, REFERENCE).shareable
    temporary = Spool(None)
    assert temporary.write(1, CHUNKS).shareable
    temporary.close()


def test_files_have_the_permissions_that_the_umask_leaves(spool: Spool) -> None:
    before = os.umask(0o002)
    try:
        path = spool.write(1, CHUNKS).path
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


def test_no_file_stays_open(spool: Spool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        spool.settle(spool.write(number, CHUNKS), lambda _: None)
    assert len(os.listdir("/proc/self/fd")) == before
