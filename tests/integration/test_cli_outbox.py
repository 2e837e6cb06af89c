"""``zdk outbox``: what it says of an outbox, and how it gets one applied."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api_client import SessionKey, StorageClient
from api_client.cli.main import build_app
from api_client.contract.codec import encode_operation
from api_client.contract.operations import CreateSession
from api_client.contract.records import new_id
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.journal import FileJournal
from api_client.outbox.spool import Spool
from tests.support.driven import message_id

WEEKS_AGO = message_id(1_700_000_000, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def run(*words: str, fails: int = 0) -> Result:
    environment: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("ZDK_")
    }
    result = CliRunner().invoke(build_app(operator=False), ["outbox", *words], env=environment)
    assert result.exit_code == fails, result.output
    return result


def status(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(run("status", str(path), "--json").stdout))


def create(session: str) -> bytes:
    return encode_operation(CreateSession(key=SessionKey("app", "user", session)))


def leave(path: Path, *, waiting: int = 0, message: str = "", packed: int = 0) -> None:
    """What a former client has left."""
    entries = [Entry(n, frozenset(), create(f"s{n}")) for n in range(1, packed + waiting + 1)]
    messages = [Dispatch(message or new_id(), entries[:packed])] if packed else []
    with closing(FileJournal(path)) as journal:
        journal.commit(Changes(added=entries, packed=messages))


def drain(path: Path, *options: str, fails: int = 0) -> Result:
    local = ["--local", "--database", f"sqlite:///{path.parent}/zdk.db", "--artifacts", "memory:"]
    return run("drain", str(path), *local, *options, fails=fails)


def sessions(folder: Path) -> set[str]:
    with StorageClient.local(f"sqlite:///{folder}/zdk.db") as client:
        return {found.key.session for found in client.sessions.list("app").result().items}


class TestStatus:
    def test_it_counts_what_is_there(self, path: Path) -> None:
        leave(path, waiting=3, packed=2)
        Spool(Path(f"{path}.spool")).write(1, [b"bytes"])
        (found,) = status(path)
        oldest = found.pop("oldest")
        assert oldest.endswith("Z")
        assert found == {
            "path": str(path),
            "in_use": False,
            "waiting": 3,
            "on_way": 2,
            "messages": 1,
            "expired": 0,
            "bytes": sum(len(create(f"s{n}")) for n in range(1, 6)),
            "spooled_bytes": 5,
            "problem": None,
        }

    def test_what_is_confirmed_counts_no_more(self, path: Path) -> None:
        done, other = (Dispatch(new_id(), [Entry(n, frozenset(), create(f"s{n}"))]) for n in (1, 2))
        with closing(FileJournal(path)) as journal:
            journal.commit(Changes(added=done.entries + other.entries, packed=[done, other]))
            journal.commit(Changes(confirmed=[done]))
            (found,) = status(path)
        assert (found["waiting"], found["on_way"], found["messages"]) == (0, 1, 1)
        assert found["bytes"] == len(create("s2"))

    def test_it_names_messages_that_are_too_old(self, path: Path) -> None:
        leave(path, message=WEEKS_AGO, packed=2)
        assert status(path)[0]["expired"] == 1

    def test_it_looks_at_one_that_is_in_use(self, path: Path) -> None:
        leave(path)
        journal = FileJournal(path)
        journal.commit(Changes(added=[Entry(1, frozenset(), b"{}")]))
        (found,) = status(path)
        assert (found["in_use"], found["waiting"]) == (True, 1)
        journal.commit(Changes(added=[Entry(2, frozenset(), b"{}")]))
        journal.close()

    @pytest.mark.parametrize("content", [None, b"", b"not a database at all"])
    def test_it_changes_nothing(self, path: Path, content: bytes | None) -> None:
        leave(path, waiting=1)
        if content is not None:
            path.write_bytes(content)
        before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()}
        status(path)
        after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()}
        assert after == before

    def test_one_that_cannot_be_read_is_named_beside_the_others(self, tmp_path: Path) -> None:
        leave(tmp_path / "1.outbox", waiting=1)
        (tmp_path / "2.outbox").write_bytes(b"not a database at all")
        first, second = status(tmp_path)
        assert (first["waiting"], first["problem"]) == (1, None)
        assert second["problem"] == "file is not a database"

    def test_people_get_a_table(self, path: Path) -> None:
        leave(path, waiting=1234)
        shown = run("status", str(path)).stdout
        for text in (str(path), "Waiting", "1,234", "In use", "no"):
            assert text in shown
        assert run("status", str(path.parent)).stdout == "no outbox\n"

    def test_one_that_is_not_there_is_not_found(self, path: Path) -> None:
        assert "there is no outbox at" in run("status", str(path), fails=3).stderr
        assert not path.exists()


class TestDrain:
    def test_everything_is_applied(self, path: Path) -> None:
        leave(path, waiting=3, packed=2)
        drained = json.loads(drain(path, "--json").stdout)
        assert drained == {"applied": 5, "failed": 0, "left": 0, "dropped": []}
        assert sessions(path.parent) == {f"s{n}" for n in range(1, 6)}
        assert status(path)[0]["waiting"] == 0

    def test_failures_are_counted(self, path: Path) -> None:
        leave(path, waiting=3)
        drain(path)
        leave(path, waiting=4)
        assert drain(path).stdout == "applied 1, failed 3, left 0\n"

    def test_what_is_left_is_told_and_makes_it_fail(self, path: Path) -> None:
        leave(path, waiting=3)
        result = run(
            "drain",
            str(path),
            *("--broker", "redis://127.0.0.1:1/0", "--timeout", "0.5"),
            fails=5,
        )
        assert result.stdout == "applied 0, failed 0, left 3\n"
        assert "Connection refused" in result.stderr
        assert status(path)[0]["on_way"] == 3

    def test_one_in_use_is_refused(self, path: Path) -> None:
        with closing(FileJournal(path)):
            assert "in use by another client" in drain(path, fails=5).stderr

    def test_one_that_is_not_there_is_not_made(self, path: Path) -> None:
        drain(path, fails=3)
        assert not path.exists()

    def test_what_is_too_old_is_refused_and_then_moved_aside(self, path: Path) -> None:
        leave(path, message=WEEKS_AGO, packed=2, waiting=1)
        assert "--drop-expired" in drain(path, fails=5).stderr
        drained = json.loads(drain(path, "--drop-expired", "--json").stdout)
        (dropped,) = drained.pop("dropped")
        assert drained == {"applied": 1, "failed": 0, "left": 0}
        kept = [json.loads(line) for line in Path(dropped).read_text().splitlines()]
        assert [line["operation"]["key"]["session"] for line in kept] == ["s1", "s2"]
        assert sessions(path.parent) == {"s3"}

    def test_of_a_folder_all_that_are_idle(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in "123":
            leave(folder / f"{name}.outbox", waiting=1)
        with closing(FileJournal(folder / "3.outbox")):
            result = drain(folder)
        assert result.stdout == "applied 1, failed 1, left 0\n"
        assert "1 outboxes are in use" in result.stderr
        assert [file.name for file in folder.glob("*.outbox")] == ["3.outbox"]

    def test_of_a_folder_what_cannot_go_on_is_left(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        leave(folder / "1.outbox", message=WEEKS_AGO, packed=2)
        leave(folder / "2.outbox", waiting=1)
        result = drain(folder, fails=5)
        assert result.stdout == "applied 1, failed 0, left 2\n"
        assert "1.outbox holds 2 operations" in result.stderr
