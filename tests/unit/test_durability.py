"""Many files made durable at once: by one syncfs where that is as good as an fsync of each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client.contract import durability, syncfs
from api_client.contract.durability import sync_all, sync_folders


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[list[int]]:
    opened = [os.open(tmp_path / str(n), os.O_WRONLY | os.O_CREAT) for n in range(10)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture
def fsynced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors given to fsync, which is watched, not replaced."""
    watched: list[int] = []
    fsync = os.fsync

    def watching(descriptor: int) -> None:
        watched.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watching)
    return watched


def need_syncfs(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    enough = syncfs.is_enough(descriptor)
    os.close(descriptor)
    if not enough:
        pytest.skip("the file system here is none of those")


def test_a_few_are_fsynced_one_by_one(descriptors: list[int], fsynced: list[int]) -> None:
    sync_all(descriptors[:3])
    assert fsynced == descriptors[:3]


def test_many_are_fsynced_one_by_one_where_syncfs_may_do_less(
    descriptors: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncfs, "is_enough", lambda _: False)
    sync_all(descriptors)
    assert fsynced == descriptors


def test_many_are_synced_at_once(
    descriptors: list[int], fsynced: list[int], tmp_path: Path
) -> None:
    need_syncfs(tmp_path)
    sync_all(descriptors)
    # One, by which a journal that has failed is noticed.
    assert fsynced == descriptors[-1:]


def test_only_some_file_systems_will_do() -> None:
    descriptor = os.open("/proc", os.O_RDONLY)
    assert not syncfs.is_enough(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("function", ["syncfs", "sync_file_range"])
def test_the_error_of_one_file_is_told(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, function: str
) -> None:
    need_syncfs(tmp_path)
    functions = syncfs._functions()
    assert functions is not None

    class Failing:
        def __getattr__(self, name: str) -> object:
            original = getattr(functions, name)

            def call(descriptor: int, *rest: object) -> int:
                if (
                    name == function
                    and descriptor == (descriptors[0], descriptors[7])[name == "sync_file_range"]
                ):
                    # What the kernel does for a descriptor that is none.
                    return int(original(-1, *rest))
                return int(original(descriptor, *rest))

            return call

    monkeypatch.setattr(syncfs, "_functions", Failing)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        syncfs.sync(descriptors)


def test_an_fsync_that_fails_is_told(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    for count in (1, len(descriptors)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            sync_all(descriptors[:count])


def test_folders_are_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / str(n) for n in range(6)]
    for folder in folders[:5]:
        folder.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        sync_folders(folders)
    sync_folders(folders[:5])
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_needs_no_sync(fsynced: list[int]) -> None:
    durability.sync_all([])
    sync_folders([])
    assert fsynced == []
