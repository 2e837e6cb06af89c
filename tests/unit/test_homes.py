"""Where an outbox is: one place, whatever it is called, and one client at a time."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Entry
from api_client.outbox.homes import Home, fixed, open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.locks import in_use
from api_client.outbox.status import outboxes_at, status_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def opened(place: Path | str) -> Iterator[list[Home]]:
    homes = open_homes(place)
    try:
        yield homes
    finally:
        for home in homes:
            home.journal.close()


def leave(path: Path, count: int = 3) -> None:
    """What a killed client leaves: operations that are in the log beside the file only."""
    journal = FileJournal(path)
    journal.commit(Changes(added=[Entry(n, frozenset(), b"{}") for n in range(1, count + 1)]))
    left = {p: p.read_bytes() for p in (path, Path(f"{path}-wal"))}
    journal.close()
    for file, content in left.items():
        file.write_bytes(content)


class TestByAnotherName:
    def test_a_link_leads_to_all_that_is_there(self, path: Path) -> None:
        leave(path)
        link = path.with_name("link.db")
        link.symlink_to(path)
        (file,) = outboxes_at(str(link))
        assert status_of(file).waiting == 3
        with opened(link) as (home,):
            assert home.journal.found.operations == home.journal.found.last == 3

    def test_a_link_does_not_open_it_twice(self, path: Path) -> None:
        link = path.with_name("link.db")
        link.symlink_to(path)
        with opened(path), pytest.raises(Unavailable, match="in use"):
            open_homes(link)

    def test_it_stays_where_it_was_when_the_process_goes_elsewhere(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(tmp_path)
        with opened(path.name) as (home,):
            monkeypatch.chdir(elsewhere)
            home.spool.write(1, [b"bytes"])
        assert Path(f"{path}.spool", "1").read_bytes() == b"bytes"
        assert list(elsewhere.iterdir()) == []

    def test_a_folder_that_is_not_there_yet_stays_a_folder(self, tmp_path: Path) -> None:
        assert fixed(f"{tmp_path}/a/../folder/") == f"{tmp_path}/folder/"
        assert fixed(tmp_path / "file") == f"{tmp_path}/file"


class TestLocks:
    def test_a_file_system_without_locks_is_named(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refusing(*_: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refusing)
        with pytest.raises(Unavailable, match="No locks available") as caught:
            open_homes(path)
        assert caught.value.field == "outbox"


class TestFolders:
    def test_what_was_adopted_is_let_go_of_if_there_is_no_room_for_an_own_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = tmp_path / "1.outbox"
        leave(left)
        monkeypatch.setattr("api_client.outbox.homes.new_id", lambda: "no/such/folder")
        with pytest.raises(Unavailable):
            open_homes(tmp_path)
        monkeypatch.undo()
        assert not in_use(left)
        with opened(tmp_path) as homes:
            assert [home.journal.found.operations for home in homes] == [3, 0]

    def test_one_that_another_process_adopts_at_the_same_moment_is_no_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        left = tmp_path / "1.outbox"
        leave(left)
        monkeypatch.setattr("api_client.outbox.homes.in_use", lambda _: False)
        with opened(left), opened(tmp_path) as homes:
            assert len(homes) == 1
        assert caplog.text == ""

    def test_one_that_may_not_be_looked_at_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Root may look at everything.
        def refusing(path: Path) -> bool:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        leave(tmp_path / "1.outbox")
        monkeypatch.setattr("api_client.outbox.homes.in_use", refusing)
        with opened(tmp_path) as homes:
            assert len(homes) == 1
        assert "Permission denied" in caplog.text
