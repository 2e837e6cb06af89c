"""Old points are dropped, and with them the blobs that no other point lists; no more."""

from __future__ import annotations

import fcntl
import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from worker.backup.folder import Backups
from worker.backup.points import FORMAT, Manifest, Point, sha256_of
from worker.backup.retention import Dropped, drop_all_but


@dataclass
class Folder:
    """Backups of contents rather than of a database."""

    backups: Backups

    def add(self, *contents: bytes, finished: bool = True) -> Point:
        """A point that lists the blobs of these contents."""
        blobs = {hashlib.sha256(content).hexdigest(): content for content in contents}
        with self.backups.begin() as point:
            point.dump.write_bytes(b"dump")
            lines = [f"{sha256} {len(blobs[sha256])}\n" for sha256 in sorted(blobs)]
            point.list.write_text("".join(lines))
            for sha256, content in blobs.items():
                self.backups.blobs.put(sha256, len(content), [content])
            if finished:
                point.finish(_manifest(point, blobs))
        return point

    def contents(self) -> set[bytes]:
        """Those that are still there."""
        files = self.backups.blobs.root.glob("[0-9a-f][0-9a-f]/*")
        return {path.read_bytes() for path in files}

    def names(self) -> list[str]:
        """Of all points, finished or not."""
        return sorted(path.name for path in self.backups.folder.glob("*Z"))


def _manifest(point: Point, blobs: dict[str, bytes]) -> Manifest:
    return Manifest(
        format=FORMAT,
        made_at=datetime.now(timezone.utc),
        release="1",
        database="sqlite",
        server=0,
        revision="0001",
        dump_size=4,
        dump_sha256=sha256_of(point.dump),
        rows={},
        blobs=len(blobs),
        bytes=sum(map(len, blobs.values())),
        missing=[],
        list_sha256=sha256_of(point.list),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(Backups(tmp_path / "backups"))


def test_what_only_old_points_had_is_gone_and_what_others_share_stays(folder: Folder) -> None:
    first, second = folder.add(b"a", b"b", b"c"), folder.add(b"b", b"d")
    third = folder.add(b"c", b"e")

    assert drop_all_but(folder.backups, 2) == Dropped([first.name], 1, [])
    assert folder.contents() == {b"b", b"c", b"d", b"e"}
    assert drop_all_but(folder.backups, 1) == Dropped([second.name], 2, [])
    assert folder.contents() == {b"c", b"e"}
    assert [point.name for point in folder.backups.points()] == [third.name]
    assert third.has_whole_list(third.manifest())


def test_a_point_of_a_clock_that_was_ahead_is_not_the_newest_for_ever(folder: Folder) -> None:
    ahead = folder.add(b"a")
    ahead.folder.rename(folder.backups.folder / "20990101T000000.000000Z")
    new = folder.add(b"b")

    assert folder.backups.point(None).name == new.name
    assert drop_all_but(folder.backups, 1) == Dropped(["20990101T000000.000000Z"], 1, [])
    assert (folder.names(), folder.contents()) == ([new.name], {b"b"})


def test_a_point_that_somebody_has_renamed_stays_and_does_not_count(folder: Folder) -> None:
    named, old = folder.add(b"a"), folder.add(b"b")
    named.folder.rename(folder.backups.folder / "before-the-move")
    new = folder.add(b"c")

    assert folder.backups.point(None).name == new.name
    assert drop_all_but(folder.backups, 1) == Dropped([old.name], 1, [])
    assert folder.contents() == {b"a", b"c"}


def test_a_restore_keeps_a_folder_from_before_there_was_a_lock(folder: Folder) -> None:
    folder.add(b"a")
    (folder.backups.folder / "lock").unlink()
    with folder.backups.shared():
        assert drop_all_but(folder.backups, 1) is None


def test_many_blobs_of_many_prefixes(folder: Folder) -> None:
    numbers = [b"%d" % number for number in range(600)]
    folder.add(*numbers[:400])
    folder.add(*numbers[200:500])
    folder.add(*numbers[300:])

    found = drop_all_but(folder.backups, 2)

    assert found is not None
    assert found.blobs == 200
    assert folder.contents() == {*numbers[200:]}


@pytest.mark.parametrize("keep", [3, 9])
def test_no_more_points_than_there_are(folder: Folder, keep: int) -> None:
    for content in (b"a", b"b", b"c"):
        folder.add(content)

    assert drop_all_but(folder.backups, keep) == Dropped([], 0, [])
    assert folder.contents() == {b"a", b"b", b"c"}


def test_only_finished_points_count_and_old_unfinished_ones_go(folder: Folder) -> None:
    stale, kept = folder.add(b"a", finished=False), folder.add(b"b")
    recent = folder.add(b"c", finished=False)
    (folder.backups.folder / "0-notes").mkdir()

    assert drop_all_but(folder.backups, 1) == Dropped([stale.name], 2, [])
    assert folder.names() == [kept.name, recent.name]
    assert folder.contents() == {b"b"}
    assert (folder.backups.folder / "0-notes").is_dir()


def test_what_a_killed_backup_was_just_copying_goes(folder: Folder) -> None:
    folder.add(b"a")
    left = folder.backups.blobs.root / "incoming" / "left"
    left.write_bytes(b"half of a blob")

    assert drop_all_but(folder.backups, 1) == Dropped([], 0, [])
    assert not left.exists()


def test_a_folder_without_a_finished_point_is_left_as_it_is(folder: Folder) -> None:
    unfinished = folder.add(b"a", finished=False)

    assert drop_all_but(folder.backups, 1) == Dropped([], 0, [])
    assert (folder.names(), folder.contents()) == ([unfinished.name], {b"a"})


@pytest.mark.parametrize("damage", ["cut off", "another hash", "no manifest", "no list"])
def test_no_blob_is_dropped_for_a_list_that_is_damaged(folder: Folder, damage: str) -> None:
    old, damaged, new = folder.add(b"a"), folder.add(b"b", b"c"), folder.add(b"d")
    lines = damaged.list.read_text().splitlines(keepends=True)
    if damage == "cut off":
        damaged.list.write_text(lines[0])
    elif damage == "another hash":
        damaged.list.write_text(lines[0] + lines[1].replace(lines[1][40], "0", 1))
    elif damage == "no list":
        damaged.list.unlink()
    else:
        (damaged.folder / "manifest.json").write_text("{")

    assert drop_all_but(folder.backups, 2) == Dropped([old.name], 0, [damaged.name])
    assert folder.contents() == {b"a", b"b", b"c", b"d"}
    assert folder.names() == [damaged.name, new.name]


def test_an_unordered_list_of_an_earlier_release_is_not_trusted(folder: Folder) -> None:
    folder.add(b"a")
    point = folder.add(*(b"%d" % number for number in range(9)))
    lines = point.list.read_text().splitlines(keepends=True)
    point.list.write_text("".join(reversed(lines)))
    manifest = point.folder / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(point.manifest().list_sha256, ""))

    found = drop_all_but(folder.backups, 1)

    assert found is not None
    assert (found.blobs, found.damaged) == (0, [point.name])


def test_what_was_interrupted_is_done_by_the_next(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder.add(b"a", b"b")
    folder.add(b"b")

    def fails(path: Path) -> None:
        raise OSError("interrupted")

    with monkeypatch.context() as broken:
        broken.setattr("shutil.rmtree", fails)
        with pytest.raises(OSError, match="interrupted"):
            drop_all_but(folder.backups, 1)
    assert len(folder.backups.points()) == 1

    assert drop_all_but(folder.backups, 1) == Dropped([old.name], 1, [])
    assert folder.contents() == {b"b"}


def test_nothing_is_dropped_while_somebody_makes_or_restores_a_backup(folder: Folder) -> None:
    folder.add(b"a")
    folder.add(b"b")
    with folder.backups.shared():
        assert drop_all_but(folder.backups, 1) is None
    with folder.backups.begin():
        assert drop_all_but(folder.backups, 1) is None
    assert folder.contents() == {b"a", b"b"}


def test_backups_and_restores_do_not_keep_one_another_out(folder: Folder) -> None:
    with folder.backups.shared(), folder.backups.begin(), folder.backups.begin():
        folder.add(b"a")
    assert len(folder.names()) == 3


def test_no_backup_is_made_or_restored_while_something_is_dropped(folder: Folder) -> None:
    folder.add(b"a")
    with folder.backups.alone() as alone:
        assert alone
        with pytest.raises(Unavailable, match="are being dropped"), folder.backups.shared():
            pass
        with pytest.raises(Unavailable, match="are being dropped"):
            folder.add(b"b")
    assert len(folder.names()) == 1


def test_a_file_system_without_locks_has_backups_but_drops_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: object, kind: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    with folder.backups.begin():
        pass
    with pytest.raises(OSError, match="no locks"):
        drop_all_but(folder.backups, 1)
