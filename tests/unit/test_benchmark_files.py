"""Files that the benchmarks store, and what the disk is compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.files import Files
from benchmarks.peers.disk import write_and_fsync, write_syncfs_rename


def _hashes(files: Files) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files.paths]


@pytest.mark.parametrize("size", [64, 1000, (1 << 20) + 5])
def test_files_have_their_size_and_differ(tmp_path: Path, size: int) -> None:
    files = Files(tmp_path / "files", 5, size)
    assert [path.stat().st_size for path in files.paths] == [size] * 5
    assert files.total == 5 * size
    assert len(set(_hashes(files))) == 5


def test_every_file_is_new_after_it_was_renewed(tmp_path: Path) -> None:
    files = Files(tmp_path / "files", 5, 1000)
    before = _hashes(files)
    files.renew()
    assert not set(before) & set(_hashes(files))
    assert [path.stat().st_size for path in files.paths] == [1000] * 5


def test_the_blocks_of_a_large_file_differ(tmp_path: Path) -> None:
    (path,) = Files(tmp_path / "files", 1, 3 << 20).paths
    data = path.read_bytes()
    assert len({data[begin : begin + (1 << 20)] for begin in range(0, len(data), 1 << 20)}) == 3


@pytest.mark.parametrize("write", [write_and_fsync, write_syncfs_rename])
def test_the_disk_is_given_all_bytes(
    tmp_path: Path, write: Callable[[Sequence[Path], Path], None]
) -> None:
    files = Files(tmp_path / "files", 5, 1000)
    write(files.paths, tmp_path / "copies")
    copies = sorted((tmp_path / "copies").iterdir())
    assert [path.name for path in copies] == [path.name for path in files.paths]
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in files.paths]
