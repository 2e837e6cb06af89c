"""The zdk command's client verbs, over real stores: what they do, print and exit with."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api_client import Event, NotFound, SessionKey, StorageClient
from api_client.cli.append import append_batches
from api_client.cli.artifacts import artifacts as artifacts_app
from api_client.cli.connect import Target, connect
from api_client.cli.main import build_app
from api_client.cli.output import EXIT_CODES, errors_explained, visible
from api_client.cli.sessions import sessions as sessions_app
from api_client.contract.errors import ERRORS
from api_client.version import __version__
from tests.integration.conftest import Site

S = ("shop", "ann", "s-1")
KEY = SessionKey(*S)
BYTES = bytes(range(256)) + b"\r\n\x00\xff"
WEIRD = ["[red]x[/]", "../x", "a b  c", "ünïcödé ☃ 漢字", "-x", "a/b\\c", "{}", "'\"", ":smile:"]


@dataclass
class Zdk:
    """Runs the command on stores of a test's own.

    Attributes:
        folder: where they are, and where files may go.
    """

    folder: Path

    @property
    def options(self) -> list[str]:
        database = f"sqlite:///{self.folder / 'zdk.db'}"
        return ["--local", "--database", database, "--artifacts", str(self.folder / "blobs")]

    @property
    def environment(self) -> dict[str, str]:
        """For commands in processes of their own, which then need only --local."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZDK_")}
        return {
            **kept,
            "ZDK_DATABASE_URL": f"sqlite:///{self.folder / 'zdk.db'}",
            "ZDK_ARTIFACTS_URL": str(self.folder / "blobs"),
        }

    def __call__(self, *words: str, input: str | bytes | None = None, fails: int = 0) -> Result:
        """Run a verb in this process, and check how it exits."""
        group, verb, *rest = words
        arguments = [group, verb, *self.options, "--", *rest]
        if "--" not in rest and any(word.startswith("--") or word == "-o" for word in rest):
            arguments = [group, verb, *self.options, *rest]
        return self.bare(*arguments, input=input, fails=fails)

    def bare(self, *words: str, input: str | bytes | None = None, fails: int = 0) -> Result:
        """Likewise, without the options that say where the stores are."""
        environment: dict[str, str | None] = {
            name: None for name in os.environ if name.startswith("ZDK_")
        }
        result = CliRunner().invoke(
            build_app(operator=False), [*words], input=input, env=environment
        )
        assert result.exit_code == fails, result.output
        if fails and result.exception is not None:
            assert isinstance(result.exception, SystemExit)
        return result

    def json(self, *words: str, input: str | bytes | None = None) -> Any:
        """The JSON document that a verb prints."""
        group, verb, *rest = words
        result = self.bare(group, verb, *self.options, "--json", *rest, input=input)
        assert result.stderr == ""
        return json.loads(result.stdout)

    def error(self, *words: str, fails: int, input: str | bytes | None = None) -> dict[str, Any]:
        """The error that a verb prints as JSON."""
        group, verb, *rest = words
        result = self.bare(group, verb, *self.options, "--json", *rest, fails=fails, input=input)
        assert result.stdout == ""
        document = json.loads(result.stderr)
        assert document.keys() == {"error"}
        assert document["error"].keys() == {"code", "message", "field", "limit"}
        return dict(document["error"])

    def process(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run the command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "api_client", *words],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=60,
            check=False,
        )


@pytest.fixture
def zdk(tmp_path: Path) -> Zdk:
    return Zdk(tmp_path)


@pytest.fixture
def session(zdk: Zdk) -> Zdk:
    """With a session in it."""
    zdk("sessions", "create", *S)
    return zdk


def lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


# Sessions


def test_session_from_creation_to_deletion(zdk: Zdk) -> None:
    created = zdk.json("sessions", "create", *S, "--state", '{"lang": "en", "user:tier": "pro"}')
    assert created["key"] == {"app": "shop", "user": "ann", "session": "s-1"}
    assert created["created_at"].endswith("Z")

    appended = zdk.json(
        *("sessions", "append", *S, "--text", "hi", "--author", "agent"),
        *("--state-delta", '{"step": 1, "app:open": true}'),
    )
    assert appended["revision"] == 1
    assert [event["seq"] for event in appended["events"]] == [1]

    updated = zdk.json(
        *("sessions", "update-state", *S, "--set", 'lang="de=x"', "--set", "n=null"),
        *("--delete", "step"),
    )
    assert updated == {"revision": 1}

    found = zdk.json("sessions", "show", *S)
    assert found["state"] == {"lang": "de=x", "n": None, "user:tier": "pro", "app:open": True}
    (event,) = found["events"]
    assert (event["author"], event["content"], event["seq"]) == ("agent", {"text": "hi"}, 1)

    assert zdk.json("sessions", "delete", *S, "--yes") == {"events": 1}
    assert zdk.error("sessions", "show", *S, fails=3)["code"] == "not_found"


def test_session_gets_a_fresh_id_if_none_is_given(zdk: Zdk) -> None:
    first, second = (zdk.json("sessions", "create", "shop", "ann")["key"] for _ in range(2))
    assert first["session"] != second["session"]
    assert zdk.json("sessions", "show", *first.values())["key"] == first


def test_people_read_a_session_as_text(session: Zdk) -> None:
    session("sessions", "append", *S, "--content", '{"tool": "track"}', "--state-delta", '{"a":1}')
    shown = session("sessions", "show", *S).stdout
    for text in ("s-1", "Revision", "State", "a ", "user", '{"tool":"track"}', "a=1"):
        assert text in shown
    assert "track" not in session("sessions", "show", *S, "--state-only").stdout


def test_show_takes_the_newest_events_or_those_after_a_place(session: Zdk) -> None:
    session(
        "sessions", "append", *S, "--file", "-", input=lines(*({"content": n} for n in range(5)))
    )

    def shown(*options: str) -> list[Any]:
        return [e["seq"] for e in session.json("sessions", "show", *S, *options)["events"]]

    assert shown() == [1, 2, 3, 4, 5]
    assert shown("--last", "2") == [4, 5]
    assert shown("--after-seq", "3") == [4, 5]
    assert shown("--state-only") == []


def test_content_comes_back_as_it_went_in(session: Zdk) -> None:
    content = '{"z":1,"a":[123456789012345678901234567890,1.0,"\\u0000 \\u001b[31m"],"é":null}'
    session("sessions", "append", *S, "--content", content)
    printed = session.bare("sessions", "show", *S, *session.options, "--json").stdout
    assert f'"content":{content}' in printed


def test_lines_are_appended_in_order_and_once(session: Zdk) -> None:
    # More than fit into one append.
    text = lines(*({"id": f"e{n}", "author": "a", "content": n} for n in range(2100)))
    first = session.json("sessions", "append", *S, "--file", "-", input=text)
    assert first["revision"] == 3
    assert [event["id"] for event in first["events"]] == [f"e{n}" for n in range(2100)]

    again = session("sessions", "append", *S, "--file", "-", input=text)
    assert again.stdout.startswith("appended 0 events, 2,100 were there before")

    events = session.json("sessions", "show", *S)["events"]
    assert [(event["seq"], event["content"]) for event in events] == [
        (n + 1, n) for n in range(2100)
    ]


def test_large_lines_are_split_over_appends(session: Zdk) -> None:
    large = lines(*({"content": "x" * 3_000_000} for _ in range(4)))
    assert session.json("sessions", "append", *S, "--file", "-", input=large)["revision"] == 4


def test_shown_events_can_be_appended_elsewhere(session: Zdk, tmp_path: Path) -> None:
    session("sessions", "append", *S, "--text", "hi", "--state-delta", '{"a": 1}')
    shown = session.json("sessions", "show", *S)["events"]
    session("sessions", "create", "shop", "bob", "copy")
    file = tmp_path / "events.jsonl"
    file.write_text("\n" + lines(*shown) + "\n")
    session("sessions", "append", "shop", "bob", "copy", "--file", str(file))
    assert session.json("sessions", "show", "shop", "bob", "copy")["events"] == shown


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"content": ', "not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"content": 1, "sequence": 4}', "sequence"),
        ('{"author": 3}', "author"),
        ('{"author": ""}', "must not be empty"),
        ('{"timestamp": "2026-01-01T00:00:00"}', "time zone"),
        (b'{"content": "\xff"}', "UTF-8"),
    ],
)
def test_wrong_line_is_named_and_nothing_is_appended(
    session: Zdk, line: str | bytes, complaint: str
) -> None:
    wrong = line if isinstance(line, bytes) else line.encode()
    error = session.error(
        "sessions", "append", *S, "--file", "-", input=b'{"content": 1}\n\n' + wrong, fails=2
    )
    assert error["message"].startswith("line 3: ")
    assert complaint in error["message"]
    assert session.json("sessions", "show", *S)["revision"] == 0


def test_author_of_lines_that_name_none(session: Zdk) -> None:
    text = lines({"content": 1}, {"content": 2, "author": "own"})
    session("sessions", "append", *S, "--author", "tool", "--file", "-", input=text)
    events = session.json("sessions", "show", *S)["events"]
    assert [event["author"] for event in events] == ["tool", "own"]


def test_expected_revision_guards_every_part_of_a_file(session: Zdk) -> None:
    text = lines(*({"content": n} for n in range(1001)))
    session("sessions", "append", *S, "--file", "-", "--expected-revision", "0", input=text)
    error = session.error(
        "sessions", "append", *S, "--text", "late", "--expected-revision", "0", fails=4
    )
    assert (error["code"], error["field"]) == ("conflict", "expected_revision")
    assert session.json("sessions", "show", *S)["revision"] == 2


def test_failure_half_way_through_a_file_tells_how_far_it_came(session: Zdk) -> None:
    def batches() -> Iterator[list[Event]]:
        yield [Event(author="a"), Event(author="a")]
        session("sessions", "delete", *S, "--yes")
        yield [Event(author="a")]

    database, blobs = session.options[2], session.options[4]
    target = Target(None, None, None, True, database, blobs, 30.0)
    with connect(target) as storage, pytest.raises(NotFound, match="; 2 events of the file were"):
        append_batches(storage, KEY, batches(), None)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--text", "a", "--content", "1"],
        ["--text", "a", "--file", "-"],
        ["--file", "-", "--state-delta", "{}"],
        ["--file", "-"],
        ["--file", "/no/such/file"],
        ["--file", "/"],
        ["--content", "{"],
        ["--text", "a", "--state-delta", "[]"],
        ["--text", "a", "--author", ""],
        ["--text", "a", "--expected-revision", "-1"],
    ],
    ids=" ".join,
)
def test_append_refuses_what_it_cannot_mean(session: Zdk, options: list[str]) -> None:
    assert session.error("sessions", "append", *S, *options, fails=2)["code"] == "invalid_request"
    assert session.json("sessions", "show", *S)["events"] == []


def test_event_may_be_nothing_but_a_change_of_state(session: Zdk) -> None:
    session("sessions", "append", *S, "--state-delta", '{"a": 1}')
    assert session.json("sessions", "show", *S)["state"] == {"a": 1}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "nothing to do"),
        (["--set", "lang=de"], """'lang="de"'"""),
        (["--set", "lang"], "KEY=JSON"),
        (["--set", "a=1", "--set", "a=2"], "twice"),
        (["--set", "a=1", "--delete", "a"], "also set"),
    ],
)
def test_update_state_says_how_to_do_it(session: Zdk, options: list[str], complaint: str) -> None:
    error = session.error("sessions", "update-state", *S, *options, fails=2)
    assert complaint in error["message"]


def test_listing_by_pages_order_and_user(zdk: Zdk) -> None:
    for number in range(5):
        zdk("sessions", "create", "shop", "ann" if number % 2 else "bob", f"s-{number}")

    def listed(*options: str) -> tuple[list[str], str | None]:
        page = zdk.json("sessions", "list", "shop", *options)
        assert page.keys() == {"items", "next_cursor"}
        return [item["key"]["session"] for item in page["items"]], page["next_cursor"]

    assert listed() == (["s-4", "s-3", "s-2", "s-1", "s-0"], None)
    assert listed("--oldest")[0] == ["s-0", "s-1", "s-2", "s-3", "s-4"]
    assert listed("--user", "ann") == (["s-3", "s-1"], None)
    first, cursor = listed("--limit", "2")
    assert first == ["s-4", "s-3"]
    assert cursor is not None
    assert listed("--limit", "2", "--cursor", cursor)[0] == ["s-2", "s-1"]
    assert listed("--limit", "2", "--cursor", cursor, "--all") == (["s-2", "s-1", "s-0"], None)
    assert f"--cursor {cursor}" in zdk("sessions", "list", "shop", "--limit", "2").stdout
    assert "--cursor" not in zdk("sessions", "list", "shop", "--limit", "2", "--all").stdout


def test_listing_with_state_and_without_sessions(zdk: Zdk) -> None:
    assert zdk("sessions", "list", "shop").stdout == "no sessions\n"
    assert zdk.json("sessions", "list", "shop") == {"items": [], "next_cursor": None}
    zdk("sessions", "create", *S, "--state", '{"a": 1}')
    assert zdk.json("sessions", "list", "shop")["items"][0]["state"] is None
    assert zdk.json("sessions", "list", "shop", "--state")["items"][0]["state"] == {"a": 1}
    assert '{"a":1}' in zdk("sessions", "list", "shop", "--state").stdout
    assert '{"a":1}' not in zdk("sessions", "list", "shop").stdout


# Artifacts


def test_artifact_through_files(zdk: Zdk, tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    for data in (b"", BYTES, os.urandom(300_000)):
        source.write_bytes(data)
        zdk("artifacts", "put", *S, "data", str(source))
        zdk("artifacts", "get", *S, "data", "-o", str(target))
        assert target.read_bytes() == data
    assert {path.name for path in tmp_path.iterdir()} >= {"in.bin", "out.bin"}
    assert not [*tmp_path.glob(".zdk-*")]


def test_artifact_through_pipes(zdk: Zdk) -> None:
    data = BYTES * 1000
    put = zdk.process("artifacts", "put", *S, "data", "-", "--local", stdin=data)
    assert (put.returncode, put.stdout, put.stderr) == (0, b"saved data as version 1\n", b"")
    got = zdk.process("artifacts", "get", *S, "data", "--local")
    assert (got.returncode, got.stdout == data, got.stderr) == (0, True, b"")
    got = zdk.process("artifacts", "get", *S, "data", "--local", "-o", "-")
    assert got.stdout == data


def test_versions_and_what_is_known_of_them(zdk: Zdk, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in ("one", "two", "three"):
        file.write_text(text)
        saved = zdk.json(
            *("artifacts", "put", *S, "a.txt", str(file), "--mime-type", "text/x-test"),
            *("--metadata", json.dumps({"word": text})),
        )
    assert saved == {
        "key": {"app": "shop", "user": "ann", "session": "s-1", "name": "a.txt"},
        "version": 3,
    }
    versions = zdk.json("artifacts", "versions", *S, "a.txt")["items"]
    assert [(v["version"], v["size"], v["mime_type"], v["metadata"]) for v in versions] == [
        (number, len(text), "text/x-test", {"word": text})
        for number, text in enumerate(("one", "two", "three"), 1)
    ]
    assert '{"word":"two"}' in zdk("artifacts", "versions", *S, "a.txt").stdout
    assert zdk("artifacts", "get", *S, "a.txt", "--version", "2").stdout == "two"

    assert zdk.json("artifacts", "delete", *S, "a.txt", "--version", "2", "--yes") == {
        "versions": [2]
    }
    assert zdk.error("artifacts", "get", *S, "a.txt", "--version", "2", fails=3)["field"] == "key"
    assert zdk("artifacts", "delete", *S, "a.txt", "--yes").stdout == (
        "deleted a.txt, versions 1, 3\n"
    )
    zdk.error("artifacts", "versions", *S, "a.txt", fails=3)


def test_artifacts_are_listed_by_pages_with_the_users(zdk: Zdk) -> None:
    assert zdk("artifacts", "list", *S).stdout == "no artifacts\n"
    for name in ("b", "a", "user:u"):
        zdk("artifacts", "put", *S, name, "-", input=name)

    def names(*options: str) -> list[str]:
        return [item["name"] for item in zdk.json("artifacts", "list", *S, *options)["items"]]

    assert names() == ["a", "b", "user:u"]
    assert names("--limit", "1") == ["a"]
    assert names("--limit", "1", "--all") == ["a", "b", "user:u"]
    other = zdk.json("artifacts", "list", "shop", "ann", "other")["items"]
    assert [item["name"] for item in other] == ["user:u"]


def test_get_as_json(zdk: Zdk, tmp_path: Path) -> None:
    zdk("artifacts", "put", *S, "a", "-", input=b"\x00\xff")
    whole = zdk.json("artifacts", "get", *S, "a")
    assert whole["data"] == "AP8="
    about = zdk.json("artifacts", "get", *S, "a", "-o", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    del whole["data"]
    assert about == {**whole, "file": str(tmp_path / "a")}
    assert zdk.error("artifacts", "get", *S, "a", "-o", "-", fails=2)["field"] == "output"


def test_get_by_uri(zdk: Zdk, tmp_path: Path) -> None:
    uris = [
        "zdk://apps/shop/users/ann/sessions/s-1/artifacts/a%2Fb%20%25/versions/1",
        "zdk://apps/shop/users/ann/artifacts/user%3Aa/versions/1",
    ]
    for name, uri in zip(("a/b %", "user:a"), uris, strict=True):
        for number in "12":
            zdk("artifacts", "put", *S, name, "-", input=name + number)
        assert zdk("artifacts", "get", uri).stdout == name + "1"
        assert zdk("artifacts", "get", uri[:-1] + "2").stdout == name + "2"
        about = zdk.json("artifacts", "get", uri, "-o", str(tmp_path / "a"))
        assert (about["name"], about["version"]) == (name, 1)
        assert zdk.error("artifacts", "get", uri[:-1] + "3", fails=3)["field"] == "key"

    assert zdk.error("artifacts", "get", uris[0], "--version", "1", fails=2)["field"] == "version"
    assert zdk.error("artifacts", "get", "zdk://apps/shop", fails=2)["field"] == "uri"
    assert zdk.error("artifacts", "get", "shop", "ann", "s-1", fails=2)["field"] == "name"
    # An app may be called like that.
    zdk("artifacts", "put", uris[0], "ann", "s-1", "name", "-", input="its own")
    assert zdk("artifacts", "get", uris[0], "ann", "s-1", "name").stdout == "its own"


def test_failed_get_leaves_the_file_as_it_was(zdk: Zdk, tmp_path: Path) -> None:
    zdk("artifacts", "put", *S, "a", "-", input=os.urandom(100_000))
    for blob in (tmp_path / "blobs").rglob("*"):
        if blob.is_file() and blob.stat().st_size == 100_000:
            blob.chmod(0o600)
            with blob.open("r+b") as file:
                file.seek(50_000)
                file.write(b"damaged")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_text("before")
    error = zdk.error("artifacts", "get", *S, "a", "-o", str(folder / "a"), fails=5)
    assert "do not match their hash" in error["message"]
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert (folder / "a").read_text() == "before"
    assert zdk("artifacts", "get", *S, "a", fails=5).stdout_bytes == b""


def test_get_keeps_links_and_devices_and_usual_permissions(zdk: Zdk, tmp_path: Path) -> None:
    zdk("artifacts", "put", *S, "a", "-", input="new")
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    zdk("artifacts", "get", *S, "a", "-o", str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    (tmp_path / "touched").touch()
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "touched").stat().st_mode

    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        zdk("artifacts", "get", *S, "a", "-o", str(tmp_path / "pipe"))
        assert os.read(reader, 10) == b"new"
        assert (tmp_path / "pipe").is_fifo()
    finally:
        os.close(reader)


@pytest.mark.parametrize("output", ["", "none/file"])
def test_get_refuses_a_place_it_cannot_write_to(zdk: Zdk, tmp_path: Path, output: str) -> None:
    zdk("artifacts", "put", *S, "a", "-", input="x")
    error = zdk.error("artifacts", "get", *S, "a", "-o", str(tmp_path / output), fails=2)
    assert error["field"] == "output"


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("/no/such/file", []),
        ("/", []),
        ("-", ["--metadata", "[]"]),
        ("-", ["--metadata", "{"]),
        ("-", ["--mime-type", ""]),
    ],
)
def test_put_refuses_wrong_input(zdk: Zdk, file: str, options: list[str]) -> None:
    assert zdk.error("artifacts", "put", *S, "a", file, *options, fails=2)
    assert zdk.json("artifacts", "list", *S)["items"] == []


# Names


@pytest.mark.parametrize("name", WEIRD)
def test_weird_names_stay_what_they_are(zdk: Zdk, name: str) -> None:
    key = (name, f"u{name}", f"s{name}")
    zdk("sessions", "create", *key)
    zdk("artifacts", "put", *key, name, "-", input=BYTES)
    (listed,) = json.loads(zdk.bare("sessions", "list", *zdk.options, "--json", "--", name).stdout)[
        "items"
    ]
    assert tuple(listed["key"].values()) == key
    assert key[2] in zdk("sessions", "list", name).stdout
    assert key[1] in zdk("sessions", "show", *key).stdout
    assert name in zdk("artifacts", "list", *key).stdout
    assert zdk("artifacts", "get", *key, name).stdout_bytes == BYTES


def test_text_cannot_steer_the_terminal(zdk: Zdk) -> None:
    evil = "a\x1b[31m\nb\r\u202e\u2028\x9b\t"
    harmless = r"a\x1b[31m\nb\r\u202e\u2028\x9b\t"
    zdk("sessions", "create", "shop", "ann", evil, "--state", json.dumps({evil: evil}))
    zdk("sessions", "append", "shop", "ann", evil, "--text", evil, "--author", evil)
    zdk("artifacts", "put", "shop", "ann", evil, evil, "-", "--mime-type", evil, input="x")
    for words in (
        ["sessions", "list", "shop"],
        ["sessions", "show", "shop", "ann", evil],
        ["artifacts", "list", "shop", "ann", evil],
        ["sessions", "delete", "shop", "ann", evil, "--yes"],
    ):
        printed = zdk(*words).stdout
        assert harmless in printed
        assert not re.search(r"[^\n\x20-\x7e]", printed)
    missing = zdk("sessions", "show", "shop", "ann", evil, fails=3).stderr
    assert missing.count("\n") == 1
    assert "\x1b" not in missing


def test_joined_emoji_stay_joined() -> None:
    assert visible("👩‍🚀 🇩🇪 é") == "👩‍🚀 🇩🇪 é"


def test_long_text_is_cut_for_people_only(session: Zdk) -> None:
    text = "word " * 200
    session("sessions", "append", *S, "--text", text)
    shown = session("sessions", "show", *S).stdout
    assert text not in shown
    assert "…" in shown
    assert session.json("sessions", "show", *S)["events"][0]["content"]["text"] == text


# Errors, options, surroundings


def test_every_error_has_an_exit_code() -> None:
    assert EXIT_CODES.keys() == {*ERRORS, "timeout"}


def test_exit_codes(session: Zdk, tmp_path: Path) -> None:
    def code(*words: str, fails: int) -> str:
        return str(session.error(*words, fails=fails)["code"])

    assert code("sessions", "create", *S, fails=4) == "already_exists"
    assert code("sessions", "show", "shop", "bob", "s-1", fails=3) == "not_found"
    assert code("sessions", "show", "shop", "", "s-1", fails=2) == "invalid_request"
    large = json.dumps({"a": "x" * 70_000})
    error = session.error("artifacts", "put", *S, "a", "-", "--metadata", large, fails=2)
    assert (error["code"], error["field"], error["limit"]) == ("too_large", "metadata", 65536)
    elsewhere = ["--database", f"sqlite:///{tmp_path}/none/zdk.db"]
    assert code("sessions", "show", *S, *elsewhere, fails=5) == "unavailable"


def test_error_for_people_is_one_line_that_says_what_to_do(session: Zdk) -> None:
    result = session("sessions", "create", *S, fails=4)
    assert (result.stdout, result.stderr) == ("", "zdk: session 's-1' exists already\n")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ([], "broker"),
        (["--local"], "database"),
        (["--local", "--database", "sqlite://"], "artifacts"),
        (["--database", "sqlite://"], "database"),
        (["--local", "--broker", "redis://localhost"], "broker"),
        (["--local", "--results", "redis://localhost"], "results"),
        (["--broker", "nonsense"], "broker_url"),
        (["--broker", "amqp://localhost"], "result_url"),
        (["--broker", "redis://localhost", "--outbox", "/no/such/folder/outbox"], "outbox"),
        (["--broker", "redis://localhost", "--timeout", "0"], "timeout"),
        (["--broker", "redis://localhost", "--timeout", "nan"], "timeout"),
        (["--local", "--database", "mysql://x", "--artifacts", "memory://"], "database_url"),
    ],
)
def test_unclear_place_is_refused(zdk: Zdk, options: list[str], field: str) -> None:
    result = zdk.bare("sessions", "list", "shop", "--json", *options, fails=2)
    assert json.loads(result.stderr)["error"]["field"] == field


@pytest.mark.parametrize(
    "words",
    [
        ["sessions", "list"],
        ["sessions", "list", "shop", "--limit", "many"],
        ["sessions", "list", "shop", "--no-such-option"],
        ["sessions", "no-such-verb"],
        ["no-such-verb"],
    ],
)
def test_wrong_usage_exits_with_2(zdk: Zdk, words: list[str]) -> None:
    zdk.bare(*words, fails=2)


def test_environment_gives_the_place_and_no_outbox(zdk: Zdk, tmp_path: Path) -> None:
    environment = {**zdk.environment, "ZDK_OUTBOX": str(tmp_path / "outbox.db")}
    words = ["sessions", "create", *S, "--local"]
    result = CliRunner().invoke(build_app(operator=False), words, env=environment)
    assert result.exit_code == 0
    assert zdk.json("sessions", "show", *S)["revision"] == 0
    assert not (tmp_path / "outbox.db").exists()


def test_what_an_outbox_holds_is_applied_when_a_verb_opens_it(zdk: Zdk, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        words = ["sessions", "create", *S, "--broker", nowhere, "--timeout", "0.5"]
        result = zdk.bare(*words, "--outbox", str(outbox), fails=5)
    assert f"it is safe in {outbox}" in result.stderr
    assert "Connection refused" in result.stderr
    zdk("sessions", "append", *S, "--text", "hi", "--outbox", str(outbox))
    assert zdk.json("sessions", "show", *S)["revision"] == 1


def test_locked_outbox_is_left_alone(zdk: Zdk, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    with StorageClient.local(outbox=outbox):
        result = zdk("sessions", "list", "shop", "--outbox", str(outbox), fails=5)
    assert "outbox" in result.stderr


def test_database_that_stays_locked_is_unavailable(session: Zdk) -> None:
    holder = sqlite3.connect(session.folder / "zdk.db", isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        error = session.error("sessions", "delete", *S, "--yes", fails=5)
    finally:
        holder.close()
    assert "locked" in error["message"]
    assert session.json("sessions", "show", *S)["revision"] == 0


def test_deleting_unasked_needs_yes(session: Zdk) -> None:
    session("artifacts", "put", *S, "a", "-", input="x")
    assert session.error("sessions", "delete", *S, fails=2, input="y\n")["field"] == "yes"
    assert session.error("artifacts", "delete", *S, "a", fails=2, input="y\n")["field"] == "yes"
    assert session.json("sessions", "show", *S)["revision"] == 0
    assert session("artifacts", "get", *S, "a").stdout == "x"


def on_terminal(zdk: Zdk, *words: str, typed: bytes = b"") -> tuple[int, str]:
    """Run the command on a terminal of 80 columns; return its exit code and what is on it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "api_client", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**zdk.environment, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        os.write(ours, typed)
        seen = b""
        # On Linux, reading ends with an error once the other side has been closed.
        while chunk := _read(ours):
            seen += chunk
    os.close(ours)
    return process.returncode, seen.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_deleting_on_a_terminal_asks(session: Zdk) -> None:
    words = ["sessions", "delete", *S, "--local"]
    code, seen = on_terminal(session, *words, typed=b"n\n")
    assert code == 1
    assert "Delete session s-1 of user ann in app shop with all its events?" in seen
    assert session.json("sessions", "show", *S)["revision"] == 0
    code, seen = on_terminal(session, *words, typed=b"y\n")
    assert (code, "deleted session s-1" in seen) == (0, True)
    session("sessions", "show", *S, fails=3)


def test_bytes_do_not_go_to_a_terminal_unless_told(zdk: Zdk) -> None:
    zdk("artifacts", "put", *S, "a", "-", input="contents")
    code, seen = on_terminal(zdk, "artifacts", "get", *S, "a", "--local")
    assert code == 2
    assert "use -o FILE" in seen
    assert "contents" not in seen
    assert on_terminal(zdk, "artifacts", "get", *S, "a", "--local", "-o", "-") == (0, "contents")


def test_table_fits_a_terminal_and_cuts_no_key(zdk: Zdk) -> None:
    name = "[red]" + "n" * 40
    zdk("sessions", "create", "shop", "ann", name, "--state", json.dumps({"k": "v" * 500}))
    zdk("sessions", "append", "shop", "ann", name, "--text", "t" * 500, "--author", "a" * 30)
    for words in (["list", "shop", "--state"], ["show", "shop", "ann", name]):
        code, seen = on_terminal(zdk, "sessions", *words, "--local")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
        assert code == 0
        assert seen != plain
        # No line is longer, and long texts take all the room there is.
        assert max(len(line.rstrip()) for line in plain.splitlines()) == 80
        assert plain.count("n") >= 40
        assert "[red]" in plain
        assert "…" in plain


def test_no_colours_in_a_pipe_whatever_the_surroundings(session: Zdk) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "api_client", "sessions", "list", "shop", "--local"],
        capture_output=True,
        env={**session.environment, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"},
        timeout=60,
        check=True,
    )
    assert b"s-1" in result.stdout
    assert b"\x1b" not in result.stdout


def test_closed_pipe_ends_quietly(zdk: Zdk) -> None:
    zdk("artifacts", "put", *S, "a", "-", input=os.urandom(1_000_000))
    command = f"{shlex.quote(sys.executable)} -m api_client artifacts get shop ann s-1 a --local"
    result = subprocess.run(
        ["bash", "-c", f"{command} | head -c 5"],
        capture_output=True,
        env=zdk.environment,
        timeout=60,
        check=True,
    )
    assert (len(result.stdout), result.stderr) == (5, b"")


# With a broker


def run_on(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **site.environment}
    return subprocess.run(
        [sys.executable, "-m", "api_client", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def test_verbs_over_a_broker(site: Site, tmp_path: Path) -> None:
    late = run_on(site, "sessions", "create", *S, "--timeout", "0.5")
    assert late.returncode == 5
    assert "the broker has taken it" in late.stderr
    unanswered = run_on(site, "sessions", "list", "shop", "--timeout", "0.5", "--json")
    assert unanswered.returncode == 5
    assert json.loads(unanswered.stderr)["error"]["code"] == "unavailable"

    file = tmp_path / "large"
    file.write_bytes(os.urandom(200_000))
    with site.worker():
        assert run_on(site, "sessions", "append", *S, "--text", "hi").returncode == 0
        assert '"revision":1' in run_on(site, "sessions", "show", *S, "--json").stdout
        assert run_on(site, "artifacts", "put", *S, "a", str(file)).returncode == 0
        got = run_on(site, "artifacts", "get", *S, "a", "-o", str(tmp_path / "got"))
        assert got.returncode == 0
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


# The command as a whole


def test_version_and_help(zdk: Zdk) -> None:
    assert zdk.bare("--version").stdout == f"zdk {__version__}\n"
    shown = zdk.bare("--help").stdout
    assert "sessions" in shown
    assert "Exit codes: 0 done" in shown
    assert zdk.bare("sessions", "append", "-h").stdout.count("Example: zdk sessions append") == 2


def examples() -> dict[str, list[str]]:
    """The examples of every verb's help, by ``group verb``."""
    found = {}
    for group, app in (("sessions", sessions_app), ("artifacts", artifacts_app)):
        for command in app.registered_commands:
            text = inspect.getdoc(command.callback) or ""
            found[f"{group} {command.name}"] = re.findall(r"^Example: (.*)$", text, re.MULTILINE)
    return found


def test_examples_in_the_help_work(zdk: Zdk, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "src").mkdir()
    (tmp_path / "events.jsonl").write_text(lines({"content": 1}))
    found = examples()
    assert all(found.values()), "every verb has an example"
    order = ["create", "list", "show", "append", "update-state", "put", "put"]
    order += ["list", "versions", "get", "delete"]
    script = [f'zdk() {{ {shlex.quote(sys.executable)} -m api_client "$@" --local; }}']
    for group in ("sessions", "artifacts"):
        for verb in order:
            script += found.get(f"{group} {verb}", [])
    assert {*script[1:]} == {line for part in found.values() for line in part}
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=zdk.environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


def in_python(code: str, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command after ``code``, in a process of its own."""
    main = f"import sys\n{code}\nfrom api_client.cli.main import main\nmain()"
    environment = {**os.environ} if path is None else {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, "-c", main, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def test_without_the_worker_extra() -> None:
    absent = "sys.modules['sqlalchemy'] = None"
    for words, extra in (
        (["worker", "--concurrency", "4"], "worker"),
        (["doctor"], "worker"),
        (["up", "--help"], "embedded"),
        (["demo"], "embedded"),
    ):
        result = in_python(absent, *words)
        assert result.returncode == 2
        assert result.stderr == f"zdk: zdk {words[0]} needs pip install 'zdk-storage[{extra}]'\n"
    shown = in_python(absent, "--help")
    assert shown.returncode == 0
    assert "sessions" in shown.stdout
    assert "doctor" not in shown.stdout
    local = ["sessions", "list", "shop", "--local", "--database", "sqlite://"]
    result = in_python(absent, *local, "--artifacts", "memory://", "--json")
    assert result.returncode == 5
    assert "zdk-storage[worker]" in json.loads(result.stderr)["error"]["message"]


def test_fault_in_the_operators_verbs_is_told_when_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "broken_verbs.py").touch()
    about = tmp_path / "broken-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[zdk_storage.cli]\nbroken = broken_verbs:mount\n")
    result = in_python("", "migrate", path=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("zdk: zdk migrate cannot be loaded: AttributeError: ")
    assert in_python("", "sessions", "--help", path=tmp_path).returncode == 0


def test_operators_verbs_are_there() -> None:
    shown = in_python("", "--help").stdout
    for verb in ("worker", "up", "migrate", "doctor"):
        assert re.search(rf"│ {verb} ", shown)


def test_unexpected_error_keeps_its_traceback_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ZeroDivisionError), errors_explained(as_json=False):
        raise ZeroDivisionError("by design")
    with pytest.raises(SystemExit, match="1"), errors_explained(as_json=True):
        raise ZeroDivisionError("by design")
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["message"]) == ("unexpected", "ZeroDivisionError: by design")


def test_missing_package_of_others_is_a_missing_extra(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"), errors_explained(as_json=False):
        raise ModuleNotFoundError("No module named 'alembic'", name="alembic.command")
    assert capsys.readouterr().err == "zdk: this needs pip install 'zdk-storage[worker]'\n"
    with pytest.raises(ModuleNotFoundError), errors_explained(as_json=False):
        raise ModuleNotFoundError("No module named 'worker.tasks'", name="worker.tasks")
