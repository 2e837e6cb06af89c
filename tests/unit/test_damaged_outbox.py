"""A damaged outbox is moved aside, said so, and never begun anew in silence."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from api_client.contract.errors import Unavailable
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.spool import Spool
from api_client.outbox.tables import message_crc

BODY = b"an operation that can be found in the file"
MESSAGE = "01a20601-e906-72c6-b1e7-aa65ee916bb0"


def row(message: str, rows: str) -> str:
    """SQL for a message with the right checksum."""
    crc = message_crc(message.encode(), 0, rows.encode())
    return f"SELECT '{message}', 0, {crc}, '{rows}'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A healthy outbox of many pages, closed."""
    path = tmp_path / "outbox.db"
    fill(path)
    return path


def fill(path: Path) -> None:
    entries = [Entry(n, frozenset(), BODY + b"x" * 900) for n in range(1, 100)]
    with closing(FileJournal(path)) as journal:
        journal.commit(Changes(added=entries))


def moved(folder: Path) -> Path:
    """The file that was moved aside."""
    (found,) = [p for p in folder.iterdir() if ".damaged-" in p.name and p.name.endswith("Z")]
    return found


def flip(path: Path) -> bytes:
    """Change a byte inside an operation; return the file as it is then."""
    content = path.read_bytes()
    place = content.index(BODY)
    content = content[:place] + b"A" + content[place + 1 :]
    path.write_bytes(content)
    return content


@pytest.mark.parametrize(
    "content", [b"not a database at all", b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="nothing was deleted"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


def test_a_malformed_database(path: Path) -> None:
    whole = path.read_bytes()
    content = whole[:4096] + b"\xff" * (len(whole) - 4096)
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


def test_one_cut_short(path: Path) -> None:
    content = path.read_bytes()[:-20_000]
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


def test_one_changed_byte(path: Path) -> None:
    content = flip(path)
    with pytest.raises(Unavailable, match="1 operations do not match their checksums"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


def test_one_changed_bit_of_a_message_id(path: Path) -> None:
    entries = [Entry(n, frozenset(), BODY) for n in range(1, 100)]
    with closing(FileJournal(path)) as journal:
        journal.commit(Changes(packed=[Dispatch(MESSAGE, entries)]))
    content = path.read_bytes()
    place = content.index(MESSAGE.encode())
    content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


def pack(path: Path) -> None:
    """Put the first 9 operations into a message."""
    entries = [Entry(n, frozenset(), BODY) for n in range(1, 10)]
    with closing(FileJournal(path)) as journal:
        journal.commit(Changes(packed=[Dispatch(MESSAGE, entries)]))


@pytest.mark.parametrize("bit", [1, 128])
def test_one_changed_bit_of_what_a_message_holds(path: Path, bit: int) -> None:
    pack(path)
    content = path.read_bytes()
    place = content.index(b"[1,2,3,4") + 3
    content = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    path.write_bytes(content)
    with pytest.raises(Unavailable, match="1 messages do not match their checksums"):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE messages SET confirmed = 1", "1 messages do not match their checksums"),
        ("DELETE FROM operations WHERE id IN (2, 3)", "2 operations that messages hold are not"),
        (f"INSERT INTO messages {row('another', '[9,10]')}", "1 operations are in more than one"),
        *(
            (f"UPDATE messages SET (id, confirmed, crc, rows) = ({row(MESSAGE, rows)})", "not say")
            for rows in ("", "[1,2", "1", "[]", "{}", '{"a":1}', '["1"]', "[1.5]", "[null]")
        ),
    ],
)
def test_messages_that_cannot_be(path: Path, statement: str, problem: str) -> None:
    pack(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    content = path.read_bytes()
    with pytest.raises(Unavailable, match=problem):
        FileJournal(path)
    assert moved(path.parent).read_bytes() == content


@pytest.mark.parametrize("emptied", [True, False])
def test_one_that_is_gone_while_its_log_is_there(path: Path, emptied: bool) -> None:
    journal = FileJournal(path)
    journal.commit(Changes(added=[Entry(100, frozenset(), b"in the log")]))
    log = Path(f"{path}-wal").read_bytes()
    journal.close()
    path.unlink()
    if emptied:
        path.touch()
    Path(f"{path}-wal").write_bytes(log)
    with pytest.raises(Unavailable, match=r"it is empty or gone, but .*-wal is not"):
        FileJournal(path)
    (aside,) = path.parent.glob("*.damaged-*-wal")
    assert aside.read_bytes() == log
    FileJournal(path).close()


def test_one_that_is_gone_while_bytes_of_saves_are_there(path: Path) -> None:
    Spool(Path(f"{path}.spool")).write(100, [b"bytes"])
    path.unlink()
    with pytest.raises(Unavailable, match=r"it is empty or gone, but .*\.spool is not"):
        open_homes(path)
    (aside,) = path.parent.glob("*.damaged-*.spool")
    assert (aside / "100").read_bytes() == b"bytes"
    (home,) = open_homes(path)
    home.close()


def test_one_that_is_begun_in_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.touch()
    Path(f"{path}.spool").mkdir()
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == 0


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("damaged", [True, False])
def test_another_application_keeps_its_file(tmp_path: Path, version: int, damaged: bool) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (value TEXT)")
        rows = [(f"{n}" * 500,) for n in range(100)]
        connection.executemany("INSERT INTO theirs VALUES (?)", rows)
        connection.execute(f"PRAGMA user_version = {version}")
    if damaged:
        whole = path.read_bytes()
        path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="left as it is"):
        FileJournal(path)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_the_error_says_where_it_is_and_what_to_do(path: Path) -> None:
    flip(path)
    with pytest.raises(Unavailable) as caught:
        FileJournal(path)
    aside = moved(path.parent)
    assert caught.value.field == "outbox"
    assert str(path) in caught.value.message
    assert f"moved to {aside}" in caught.value.message
    assert "Open the outbox again to start with an empty one" in caught.value.message
    assert f"sqlite3 {aside} .recover" in caught.value.message


def test_only_the_next_opening_begins_a_new_one(path: Path) -> None:
    flip(path)
    with pytest.raises(Unavailable):
        FileJournal(path)
    assert not path.exists()
    with closing(FileJournal(path)) as journal:
        assert journal.found.operations == 0
    with closing(sqlite3.connect(moved(path.parent))) as connection:
        assert connection.execute("SELECT count(*) FROM operations").fetchone() == (99,)


def test_the_log_and_the_bytes_beside_it_go_with_it(path: Path) -> None:
    # Given what a killed client leaves: operations in the log, and a save's bytes.
    journal = FileJournal(path)
    journal.commit(Changes(added=[Entry(100, frozenset(), b"in the log")]))
    Spool(Path(f"{path}.spool")).write(100, [b"bytes"])
    log = Path(f"{path}-wal")
    left = {p: p.read_bytes() for p in (path, log)}
    journal.close()
    for file, content in left.items():
        file.write_bytes(content)

    flip(path)
    with pytest.raises(Unavailable, match="is damaged"):
        FileJournal(path)
    aside = moved(path.parent)
    assert Path(f"{aside}-wal").read_bytes() == left[log]
    assert Path(f"{aside}.spool", "100").read_bytes() == b"bytes"
    assert {p.name for p in path.parent.iterdir()} - {f"{path.name}.lock"} == {
        p.name for p in path.parent.iterdir() if p.name.startswith(aside.name)
    }


def test_one_that_is_locked_stays(path: Path) -> None:
    with closing(FileJournal(path)), pytest.raises(Unavailable, match="in use"):
        FileJournal(path)
    assert path.exists()


def test_one_that_may_not_be_read_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the system call is made to refuse.
    before, opened = path.read_bytes(), os.open

    def refusing(name: object, *arguments: int) -> int:
        if name == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(Unavailable, match="left as it is"):
        FileJournal(path)
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_in_a_folder_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("1.outbox", "2.outbox"):
        fill(folder / name)
    flip(folder / "1.outbox")
    homes = open_homes(folder)
    assert [home.journal.found.operations for home in homes] == [99, 0]
    assert f"moved to {moved(folder)}" in caplog.text
    for home in homes:
        home.journal.close()
