"""``zdk dead-letters``: what it prints, what it does, how it ends."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api_client.cli.main import build_app
from api_client.contract import codec
from tests.support import items
from tests.support.items import append, create
from tests.support.programs import run_zdk
from tests.support.stores import contents, letters, made, open_store
from worker.broker import gate
from worker.migrate import upgrade
from worker.storage import Storage

ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\n\x7f"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "ZDK_DATABASE_URL": f"sqlite:///{tmp_path / 'zdk.db'}",
        "ZDK_ARTIFACTS_URL": f"file://{tmp_path / 'blobs'}",
        # Nobody listens there.
        "ZDK_BROKER_URL": "redis://127.0.0.1:1/0",
        "ZDK_PATIENCE": "0",
    }


@pytest.fixture
def storage(environment: dict[str, str]) -> Iterator[Storage]:
    opened = open_store(environment["ZDK_DATABASE_URL"])
    upgrade(opened.database)
    yield opened
    opened.close()


@pytest.fixture
def zdk(environment: dict[str, str], storage: Storage) -> Command:
    return Command(environment)


class Command:
    """The command, run in this process."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment

    def __call__(self, *words: object) -> Result:
        arguments = ["dead-letters", *map(str, words)]
        return CliRunner().invoke(build_app(), arguments, env=self._environment)

    def json(self, *words: object) -> Any:
        """What it prints with ``--json``, which is one document, whatever the exit code."""
        return json.loads(self(*words, "--json").stdout)


def fail(storage: Storage, session: str = "s", content: object = 1, app: str = "app") -> int:
    """Have an append fail; returns its dead letter."""
    storage.apply([made(append(session, content, app=app))])
    return int(letters(storage)[-1].pk)


def refuse(storage: Storage, content: bytes, reason: str = "it was refused", **headers: Any) -> int:
    """Keep what the gate has refused; returns its dead letter."""
    sent = {"task": codec.WRITE_TASK, "id": str(len(content)), **headers}
    storage.keep_refused(gate.refused(sent, content, reason))
    return int(letters(storage)[-1].pk)


class TestList:
    def test_nothing(self, zdk: Command) -> None:
        assert zdk("list").stdout == "no dead letters\n"
        assert zdk.json("list") == {"items": [], "next": None}

    def test_one_to_a_line_for_people(self, zdk: Command, storage: Storage) -> None:
        pk = fail(storage, "nowhere")
        whole = refuse(storage, b"whole")
        result = zdk("list")
        assert result.exit_code == 0
        words = [line.split() for line in result.stdout.splitlines()]
        assert [str(pk), str(whole)] == [line[0] for line in words if line[0].isdigit()][:2]
        assert "app/user/nowhere" in result.stdout
        assert "not_found" in result.stdout

    def test_a_long_session_is_folded_rather_than_cut(self, zdk: Command, storage: Storage) -> None:
        fail(storage, "s" * 36 + "-end", app="a-rather-long-name-of-an-application")
        assert "…" not in zdk("list").stdout

    def test_all_that_is_known_for_programs(self, zdk: Command, storage: Storage) -> None:
        pk = fail(storage, "nowhere")
        (found,) = zdk.json("list")["items"]
        (row,) = letters(storage)
        assert datetime.fromisoformat(found.pop("failed_at")) == row.failed_at
        assert datetime.fromisoformat(found.pop("issued_at")) == row.issued_at
        assert found == {
            "id": pk,
            "message_id": row.message_id,
            "position": 0,
            "app": "app",
            "user": "user",
            "session": "nowhere",
            "operation": "session.append",
            "code": "not_found",
            "error": row.error,
            "size": len(row.body),
            "attempts": 1,
        }

    def test_by_app_and_without_one(self, zdk: Command, storage: Storage) -> None:
        mine, other = fail(storage, app="mine"), fail(storage, app="other")
        whole = refuse(storage, b"x")

        def ids(*options: str) -> list[int]:
            return [found["id"] for found in zdk.json("list", *options)["items"]]

        assert ids() == [mine, other, whole]
        assert ids("--app", "mine") == [mine]
        assert ids("--app", "") == [whole]
        assert ids("--app", "nobody's") == []

    def test_page_by_page(self, zdk: Command, storage: Storage) -> None:
        pks = [fail(storage) for _ in range(5)]
        found, after = [], 0
        while after is not None:
            page = zdk.json("list", "--limit", 2, "--after", after)
            found += [item["id"] for item in page["items"]]
            after = page["next"]
        assert found == pks
        assert f"--after {pks[1]}" in zdk("list", "--limit", 2).stdout

    @pytest.mark.parametrize("limit", ["0", "1001", "x"])
    def test_a_wrong_limit(self, zdk: Command, limit: str) -> None:
        assert zdk("list", "--limit", limit).exit_code == 2


class TestShow:
    def test_all_of_it_for_people(self, zdk: Command, storage: Storage) -> None:
        shown = zdk("show", fail(storage, "nowhere", {"deep": {"text": "hi"}})).stdout
        for words in ("session.append", "nowhere", "not_found", "attempts", '"text": "hi"'):
            assert words in shown

    def test_headers_and_bytes_of_a_whole_message(self, zdk: Command, storage: Storage) -> None:
        pk = refuse(storage, b"\x00\x80not text", eta="2099")
        shown = zdk("show", pk).stdout
        assert '"eta":"2099"' in shown
        assert r"\x00\x80not text" in shown
        assert "it was refused" in shown

    def test_for_programs(self, zdk: Command, storage: Storage) -> None:
        found = zdk.json("show", refuse(storage, b"\x00\xff", eta="2099"))
        assert base64.b64decode(found["body"]) == b"\x00\xff"
        assert json.loads(found["headers"])["eta"] == "2099"

    def test_raw_bytes(self, zdk: Command, storage: Storage) -> None:
        content = bytes(range(256)) * 3
        assert zdk("show", refuse(storage, content), "--raw").stdout_bytes == content

    def test_one_that_is_not_there(self, zdk: Command) -> None:
        result = zdk("show", 17)
        assert result.exit_code == 3
        assert "17" in result.stderr
        assert result.stdout == ""

    def test_one_of_which_the_beginning_was_kept(
        self, zdk: Command, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gate, "KEPT_BYTES", 4)
        shown = zdk("show", refuse(storage, b"abcdefgh")).stdout
        assert "only the first 4 bytes were kept" in shown
        assert "abcde" not in shown


class TestReplay:
    def test_what_succeeds_and_what_does_not(self, zdk: Command, storage: Storage) -> None:
        good, bad = fail(storage, "s"), fail(storage, "nowhere")
        storage.apply([made(create("s"))])
        result = zdk("replay", good, bad)
        assert result.exit_code == 1
        first, second, last = result.stdout.splitlines()
        assert first == f"{good}: applied"
        assert second.startswith(f"{bad}: there is no session")
        assert last == "1 applied, 1 failed again"
        assert contents(storage, "s") == [1]
        assert [(letter.pk, letter.attempts) for letter in letters(storage)] == [(bad, 2)]

    def test_only_success_exits_with_0(self, zdk: Command, storage: Storage) -> None:
        pk = fail(storage, "s")
        storage.apply([made(create("s"))])
        assert zdk("replay", pk).exit_code == 0
        again = zdk("replay", pk)
        assert again.exit_code == 1
        assert "no dead letter" in again.stdout
        assert contents(storage, "s") == [1]

    def test_for_programs(self, zdk: Command, storage: Storage) -> None:
        good, bad = fail(storage, "s"), fail(storage, "nowhere")
        storage.apply([made(create("s"))])
        found = zdk.json("replay", good, bad)
        assert found["items"][1].pop("error").startswith("there is no session")
        assert found == {
            "replayed": 1,
            "failed": 1,
            "items": [
                {"id": good, "ok": True, "code": None, "error": None},
                {"id": bad, "ok": False, "code": "not_found"},
            ],
        }

    def test_all_in_the_order_of_failure(
        self, zdk: Command, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.modules["worker.cli.dead_letters"], "_PAGE", 3)
        for number in range(10):
            storage.apply([made(append("s", number))])
        fail(storage, "s", "other", app="other")
        storage.apply([made(create("s")), made(create("s", app="other"))])
        assert zdk("replay", "--app", "app").stdout.endswith("10 applied, 0 failed again\n")
        assert contents(storage, "s") == [*range(10)]
        assert zdk("replay", "--all").exit_code == 0
        assert contents(storage, "s", app="other") == ["other"]
        assert letters(storage) == []

    def test_a_whole_message(self, zdk: Command, storage: Storage) -> None:
        sent = items.body(items.message(create("s"), append("s", 1), append("nowhere", 2)))
        result = zdk("replay", refuse(storage, sent))
        assert result.exit_code == 1
        assert contents(storage, "s") == [1]
        # What failed of it is there by itself.
        assert [letter.session_id for letter in letters(storage)] == ["nowhere"]

    def test_bytes_that_are_gone(self, zdk: Command, storage: Storage) -> None:
        save = {
            "op": "artifact.save",
            "key": {"app": "a", "user": "u", "session": "s", "name": "n"},
            "mime_type": "x/y",
            "blob": {"sha256": "0" * 64, "size": 5},
        }
        result = zdk("replay", refuse(storage, items.body(items.message(save))))
        # The Redis that might still have them cannot be asked.
        assert result.exit_code == 5
        assert "staged bytes" in result.stderr
        assert len(letters(storage)) == 1


class TestDiscard:
    def test_some_or_all(self, zdk: Command, storage: Storage) -> None:
        first, second = fail(storage), fail(storage)
        fail(storage, app="other")
        fail(storage, app="other")
        refuse(storage, b"whole")
        assert zdk("discard", first, 999).stdout == "1 discarded\n"
        assert letters(storage)[0].pk == second
        assert zdk.json("discard", "--app", "other") == {"discarded": 2}
        assert zdk("discard", "--app", "").stdout == "1 discarded\n"
        assert zdk("discard", "--all").stdout == "1 discarded\n"
        assert letters(storage) == []
        assert zdk("discard", "--all").exit_code == 0


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize(
    "words", [[], ["1", "--all"], ["1", "--app", "a"], ["--app", "", "--all"], ["x"]]
)
def test_one_must_say_which(zdk: Command, storage: Storage, verb: str, words: list[str]) -> None:
    fail(storage)
    assert zdk(verb, *words).exit_code == 2
    assert len(letters(storage)) == 1


def test_whatever_failed_cannot_steer_a_terminal(zdk: Command, storage: Storage) -> None:
    failed = fail(storage, ESCAPE, ESCAPE, app=ESCAPE)
    whole = refuse(storage, ESCAPE.encode(), ESCAPE, task=f"task\x00{ESCAPE}", more=ESCAPE + "\x00")
    storage.apply([made({"op": ESCAPE, "key": {"app": "a\x00", "user": "", "session": ESCAPE}})])
    printed = [
        zdk("list"),
        *(zdk("show", letter.pk) for letter in letters(storage)),
        zdk("replay", failed, whole),
        zdk("discard", failed),
    ]
    assert len(printed) == 6
    for result in printed:
        output = result.stdout + result.stderr
        assert output
        assert not [char for char in output if not char.isprintable() and char != "\n"]
    # JSON is escaped JSON, and says it all.
    (found,) = zdk.json("list", "--app", "")["items"][:1]
    assert found["operation"] == f"task\\x00{ESCAPE}"


def test_without_a_database_it_says_so(zdk: Command, environment: dict[str, str]) -> None:
    environment["ZDK_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    for words in (["list"], ["show", 1], ["replay", "--all"], ["discard", 1]):
        result = zdk(*words)
        assert result.exit_code == 5
        assert result.stderr.startswith("zdk: ")


def test_in_a_new_database_it_says_what_to_do(
    zdk: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["ZDK_DATABASE_URL"] = f"sqlite:///{tmp_path}/new.db"
    result = zdk("list")
    assert result.exit_code == 5
    (line,) = result.stderr.splitlines()
    assert line.startswith("zdk: no such table: dead_letters; ")
    assert line.endswith("run zdk migrate")


def test_as_a_program(environment: dict[str, str], storage: Storage, tmp_path: Path) -> None:
    pk = refuse(storage, b"raw\x00")
    done = run_zdk("dead-letters", "list", "--json", environment=environment, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["items"][0]["id"]) == (0, pk)
    done = run_zdk("dead-letters", "replay", str(pk), environment=environment, cwd=tmp_path)
    assert done.returncode == 1
    assert "no message" in done.stdout
    assert "Traceback" not in done.stderr
