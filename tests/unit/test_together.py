"""Files that are settled at about the same time share a sync, and nobody waits for company."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from api_client.outbox import together as module
from api_client.outbox.together import Together

PATIENCE = 30.0


class Syncs:
    """In place of `sync_all`: notes what is synced, and can be held up or fail.

    Attributes:
        groups: how many files were synced each time; the folder is one more.
    """

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: OSError | None = None

    def __call__(self, descriptors: Sequence[int]) -> None:
        self.groups.append(len(descriptors) - 1)
        for descriptor in descriptors:
            os.fstat(descriptor)
        self.running.set()
        assert self.go_on.wait(PATIENCE)
        if self.error is not None:
            raise self.error


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    made = Syncs()
    monkeypatch.setattr(module, "sync_all", made)
    return made


class Files:
    """Files in a folder, and what was told of them."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.together = Together(folder)
        self.told: dict[int, OSError | None] = {}

    def add(self, number: int) -> None:
        """Settle a new file."""
        descriptor = os.open(self._folder / str(number), os.O_WRONLY | os.O_CREAT)
        self.together.add(descriptor, lambda error: self.told.update({number: error}))

    def hold_up(self, syncs: Syncs, number: int) -> threading.Thread:
        """Settle a file in a thread whose sync does not end."""
        syncs.go_on.clear()
        syncs.running.clear()
        thread = threading.Thread(target=self.add, args=(number,))
        thread.start()
        assert syncs.running.wait(PATIENCE)
        return thread


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_one_by_one_each_is_synced_at_once(files: Files, syncs: Syncs) -> None:
    for number in range(3):
        files.add(number)
        assert files.told == dict.fromkeys(range(number + 1))
    assert syncs.groups == [1, 1, 1]


def test_those_that_come_during_a_sync_share_the_next(files: Files, syncs: Syncs) -> None:
    first = files.hold_up(syncs, 0)
    for number in range(1, 20):
        files.add(number)
    assert files.told == {}
    syncs.go_on.set()
    first.join(PATIENCE)
    assert syncs.groups == [1, 19]
    assert files.told == dict.fromkeys(range(20))


def test_too_many_are_not_left_waiting(
    files: Files, syncs: Syncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    first = files.hold_up(syncs, 0)
    for number in range(1, 6):
        files.add(number)
    syncs.running.clear()
    seventh = threading.Thread(target=files.add, args=(6,))
    seventh.start()
    # It does not wait for the sync that is held up.
    assert syncs.running.wait(PATIENCE)
    assert syncs.groups == [1, 6]
    syncs.go_on.set()
    for thread in (first, seventh):
        thread.join(PATIENCE)
    assert files.told == dict.fromkeys(range(7))


def test_all_of_a_group_learn_that_it_failed_and_later_ones_do_not(
    files: Files, syncs: Syncs
) -> None:
    first = files.hold_up(syncs, 0)
    files.add(1)
    files.add(2)
    syncs.error = OSError(errno.EIO, "the disk is broken")
    syncs.go_on.set()
    first.join(PATIENCE)
    assert files.told == dict.fromkeys(range(3), syncs.error)
    syncs.error = None
    files.add(3)
    assert files.told[3] is None


def test_no_file_stays_open(files: Files, syncs: Syncs) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files.add(0)
    syncs.error = OSError(errno.EIO, "the disk is broken")
    files.add(1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_all_get_an_answer(files: Files) -> None:
    def add_some(first: int) -> None:
        for number in range(first, first + 50):
            files.add(number)

    threads = [threading.Thread(target=add_some, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert files.told == dict.fromkeys(range(200))
