"""``zdk ingest`` and `api_client.ingest`, over real stores and workers."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from api_client import ArtifactKey, InvalidRequest, SessionKey, StorageClient, Unavailable
from api_client.cli.ingest import ingest_folder
from api_client.contract.limits import MAX_ARTIFACT_BYTES
from api_client.contract.records import ArtifactVersion
from api_client.ingest import Failure, Progress, Summary, ingest, listing
from api_client.receipts import Receipt
from tests.integration.conftest import Site
from tests.support.programs import clean_environment, invoke_zdk, run_zdk
from tests.support.workers import Stack

KEY = SessionKey("shop", "ann", "s-1")
KEYS = ["--app", "shop", "--user", "ann", "--session", "s-1"]


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def stored(client: StorageClient, key: SessionKey = KEY) -> dict[str, ArtifactVersion]:
    """The latest versions, by name."""
    found: dict[str, ArtifactVersion] = {}
    cursor: str | None = None
    while True:
        page = client.artifacts.list(key, cursor=cursor).result()
        found.update((version.name, version) for version in page)
        cursor = page.next_cursor
        if cursor is None:
            return found


def versions(client: StorageClient, key: SessionKey = KEY) -> dict[str, int]:
    """The numbers of the latest versions, by name."""
    return {name: version.version for name, version in stored(client, key).items()}


def counts(summary: Summary) -> tuple[int, int, int, int]:
    return summary.new, summary.changed, summary.unchanged, summary.failed


# The library form


def test_only_what_has_changed_is_stored_again(stack: Stack, tmp_path: Path) -> None:
    key = SessionKey("ingest", tmp_path.name, stack.name)
    large = os.urandom(200_000)
    root = put(tmp_path, {"a/x.txt": b"one", "a-b": b"two", "é/😀\n": b"three", "large": large})
    (client,) = stack.clients(1)

    def run() -> tuple[int, int, int, int]:
        return counts(ingest(client, root, key))

    assert run() == (4, 0, 0, 0)
    for name in ("a/x.txt", "a-b", "é/😀\n", "large"):
        loaded = client.artifacts.load(ArtifactKey(key.app, key.user, key.session, name)).result()
        assert (loaded.version, loaded.data) == (1, (root / name).read_bytes())
    assert run() == (0, 0, 4, 0)
    # Of the same size, longer, gone, new, and touched without a change.
    put(root, {"a-b": b"tvo", "large": large + b"x", "a/y": b"", "é/😀\n": b"three"})
    (root / "a/x.txt").unlink()
    assert run() == (1, 2, 1, 0)
    assert versions(client, key) == {"a-b": 2, "a/x.txt": 1, "a/y": 1, "large": 2, "é/😀\n": 1}
    assert run() == (0, 0, 4, 0)


def test_comparison_over_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_SIZE", 7)
    root = put(tmp_path / "root", {f"{n % 5}/{n}": b"%d" % n for n in range(100)})
    with StorageClient.local() as client:
        ingest(client, root, KEY)
        for number in range(0, 100, 3):
            (root / f"{number % 5}/{number}").write_bytes(b"changed")
        for number in range(1, 100, 3):
            (root / f"{number % 5}/{number}").unlink()
        put(root, {f"{n % 5}/new{n}": b"" for n in range(10)})
        assert counts(ingest(client, root, KEY)) == (10, 34, 33, 0)
        assert counts(ingest(client, root, KEY)) == (0, 0, 77, 0)


def test_time_of_change_is_kept_and_does_not_count(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"report.pdf": b"%PDF-1.7"})
    os.utime(root / "report.pdf", (0, 1234.5))
    with StorageClient.local() as client:
        ingest(client, root, KEY)
        os.utime(root / "report.pdf", (0, 99.0))
        assert ingest(client, root, KEY).unchanged == 1
        found = stored(client)["report.pdf"]
    assert (found.metadata, found.mime_type) == ({"mtime": 1234.5}, "application/pdf")


def test_file_of_another_size_is_not_read_to_compare_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(tmp_path / "root", {"a": b"1"})
    with StorageClient.local() as client:
        ingest(client, root, KEY)
        put(root, {"a": b"12"})
        monkeypatch.delattr("hashlib.file_digest")
        assert ingest(client, root, KEY).changed == 1


def test_prefix_of_the_names(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"a": b"1", "b/c": b"2"})
    with StorageClient.local() as client:
        client.artifacts.save(ArtifactKey("shop", "ann", "s-1", "a"), b"1").result()
        assert ingest(client, root, KEY, prefix="docs/").new == 2
        assert ingest(client, root, KEY, prefix="user:").new == 2
        assert versions(client) == dict.fromkeys(
            ["a", "docs/a", "docs/b/c", "user:a", "user:b/c"], 1
        )
        # The user's are the same in another session.
        other = SessionKey("shop", "ann", "other")
        assert ingest(client, root, other, prefix="user:").unchanged == 2


def test_what_cannot_be_stored_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"0": b"gone soon", "good": b"1", "user:x": b"2", "z": b"3"})
    (root / os.fsdecode(b"bad\xff")).touch()
    long = "/".join(["d" * 250] * 5)
    put(root, {long: b""})
    with (root / "huge").open("wb") as huge:
        huge.truncate(MAX_ARTIFACT_BYTES + 1)
    told: list[Failure] = []

    def on_failure(failure: Failure) -> None:
        told.append(failure)
        # It was found by then, and is not read yet.
        (root / "0").unlink(missing_ok=True)

    with StorageClient.local() as client:
        summary = ingest(client, root, KEY, on_failure=on_failure)
        assert versions(client) == {"good": 1, "z": 1}
    assert counts(summary) == (2, 0, 0, 5)
    assert summary.failures == told
    reasons = {failure.file: (failure.code, failure.message) for failure in told}
    assert reasons.keys() == {"0", "bad\\xff", long, "huge", "user:x"}
    assert reasons["0"] == ("os_error", "No such file or directory")
    assert reasons["bad\\xff"] == ("invalid_request", "its name is not UTF-8")
    assert "1024 bytes" in reasons[long][1]
    assert reasons["huge"][0] == "too_large"
    assert "begins with user:" in reasons["user:x"][1]


def test_file_that_cannot_be_read_for_comparison_is_a_failure(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"0": b"1", "a": b"1"})
    with StorageClient.local() as client:
        ingest(client, root, KEY)
        (root / os.fsdecode(b"bad\xff")).touch()
        summary = ingest(client, root, KEY, on_failure=lambda _: (root / "0").unlink(True))
    assert counts(summary) == (0, 0, 1, 2)


def test_dry_run_stores_nothing(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"a": b"1", "b": b"2", "c": b"3"})
    with StorageClient.local() as client:
        assert counts(ingest(client, root, KEY, dry_run=True)) == (3, 0, 0, 0)
        assert versions(client) == {}
        ingest(client, root, KEY)
        put(root, {"b": b"changed", "d": b"new!"})
        summary = ingest(client, root, KEY, dry_run=True)
        assert (counts(summary), summary.bytes) == ((1, 1, 2, 0), 11)
        assert versions(client) == {"a": 1, "b": 1, "c": 1}


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {str(n): b"xyz" for n in range(100)})
    told: list[tuple[int, int]] = []
    last: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        told.append((progress.summary.files, progress.bytes))
        last[:] = [progress]

    with StorageClient.local() as client:
        ingest(client, root, KEY, on_progress=on_progress)
    assert told == [(n, 3 * n) for n in range(1, 101)]
    assert last[0].total.files <= 100


def test_small_outbox_is_waited_for(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {str(n): b"xyz" for n in range(200)})
    with StorageClient.local(max_operations=5) as client:
        assert counts(ingest(client, root, KEY)) == (200, 0, 0, 0)


def test_closed_client_ends_the_run(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"a": b"1"})
    client = StorageClient.local()
    client.close()
    with pytest.raises(Unavailable, match="closed"):
        ingest(client, root, KEY)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"folder": "missing"}, "folder"),
        ({"folder": "file"}, "folder"),
        ({"folder": "a\0b"}, "folder"),
        ({"folder": 7}, "folder"),
        ({"key": "s-1"}, "key"),
        ({"prefix": "\0"}, "prefix"),
        ({"prefix": "x" * 1025}, "prefix"),
        ({"include": ["#"]}, "include"),
        ({"exclude": [""]}, "exclude"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path, arguments: dict[str, Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"file": b"1"})
    monkeypatch.chdir(tmp_path)
    with StorageClient.local() as client, pytest.raises(InvalidRequest) as refused:
        ingest(client, **{"folder": tmp_path, "key": KEY, **arguments})
    assert refused.value.field == field


# Interruptions

_DYING = """
import os, signal, sys
from api_client import StorageClient, SessionKey
from api_client.artifacts import Artifacts
from api_client.ingest import ingest

folder, outbox, worker = sys.argv[1:]
save, receipts = Artifacts.save, []

def dying_save(*arguments, **options):
    if not receipts:
        # From here on nothing is applied.
        os.kill(int(worker), signal.SIGSTOP)
    receipts.append(save(*arguments, **options))
    if len(receipts) == 300:
        for receipt in receipts:
            receipt.accepted.result(30)
        os.kill(os.getpid(), signal.SIGKILL)
    return receipts[-1]

Artifacts.save = dying_save
client = StorageClient.from_env(outbox=outbox)
# All in one thread, in order.
import api_client.ingest.flight
api_client.ingest.flight._THREADS = 1
ingest(client, folder, SessionKey("shop", "ann", "s-1"))
"""


@pytest.mark.parametrize("outbox", ["outbox.db", "outbox/"])
def test_killed_run_goes_on_and_doubles_nothing(site: Site, tmp_path: Path, outbox: str) -> None:
    root = put(tmp_path / "root", {f"{n:04d}": b"%d" % n for n in range(700)})
    put(root, {"0007": os.urandom(100_000)})
    place = str(tmp_path) + "/" + outbox
    with site.worker(pool="solo") as worker:
        died = subprocess.run(
            [sys.executable, "-c", _DYING, str(root), place, str(worker.pid)],
            env=clean_environment(site.environment),
            timeout=60,
            check=False,
        )
        assert died.returncode == -signal.SIGKILL
        worker.kill()
    words = ["ingest", str(root), *KEYS, "--outbox", place, "--json"]
    with site.worker(pool="solo"):
        again = run_zdk(*words, environment=site.environment, cwd=tmp_path)
        assert (again.returncode, again.stderr) == (0, "")
        summary = json.loads(again.stdout)
        assert (summary["new"], summary["changed"], summary["unchanged"]) == (400, 0, 300)
        with StorageClient(site.broker_url) as client:
            assert versions(client) == {f"{n:04d}": 1 for n in range(700)}


def test_what_the_outbox_holds_is_waited_for_first(site: Site, tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"a": b"1"})
    outbox = tmp_path / "outbox.db"
    with StorageClient(site.broker_url, outbox) as client:
        client.artifacts.save(ArtifactKey("shop", "ann", "s-1", "a"), b"1").accepted.result()
        client.close(0)
    with StorageClient(site.broker_url, outbox) as client:
        with pytest.raises(Unavailable, match=r"1 earlier operations .* zdk doctor"):
            ingest(client, root, KEY, patience=0.3)
        with site.worker():
            assert counts(ingest(client, root, KEY)) == (0, 0, 1, 0)


def test_interrupted_run_lets_what_is_under_way_be_applied(site: Site, tmp_path: Path) -> None:
    root = put(tmp_path / "root", {f"{n:04d}": b"%d" % n for n in range(3000)})
    code = (
        "import os, signal\n"
        # A shell has what it starts in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import api_client.ingest.tally as tally\n"
        "settled = tally.Tally.settled\n"
        "def interrupting(self, *arguments):\n"
        "    settled(self, *arguments)\n"
        "    if self.summary.files == 100: os.kill(os.getpid(), signal.SIGINT)\n"
        "tally.Tally.settled = interrupting\n"
        "from api_client.cli.main import main\n"
        "main()"
    )
    words = ["ingest", str(root), *KEYS]
    with site.worker():
        stopped = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=clean_environment(site.environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert stopped.returncode not in (0, -signal.SIGINT)
        assert "interrupted; run it again to go on" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        again = run_zdk(*words, "--json", environment=site.environment, cwd=tmp_path)
        assert again.returncode == 0
        summary = json.loads(again.stdout)
        assert summary["unchanged"] >= 100
        assert (summary["new"] + summary["unchanged"], summary["changed"]) == (3000, 0)
        with StorageClient(site.broker_url) as client:
            assert set(versions(client).values()) == {1}


def test_interruption_waits_for_what_is_under_way(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {f"{n:04d}": b"%d" % n for n in range(3000)})

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with StorageClient.local() as client:
        with pytest.raises(KeyboardInterrupt):
            ingest(client, root, KEY, on_progress=interrupt)
        assert client.pending == 0
        assert 0 < len(versions(client)) < 3000


def test_listing_that_comes_late_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_SIZE", 1)
    database = tmp_path / "zdk.db"
    locked = sqlite3.connect(database, isolation_level=None)
    begun: list[Receipt[int]] = []

    with StorageClient.local(f"sqlite:///{database}") as client:

        def save(name: str) -> Receipt[int]:
            return client.artifacts.save(ArtifactKey("shop", "ann", "s-1", name), b"1")

        def allowance() -> float:
            if begun:
                return 0.2 if locked.in_transaction else 30.0
            # The first page has been asked for; the second one has to wait for a write.
            locked.execute("BEGIN IMMEDIATE")
            begun.append(save("0"))
            return 30.0

        def drain() -> None:
            locked.execute("ROLLBACK")
            begun[0].result()

        save("a").result()
        save("b").result()
        found = listing.latest_versions(client, KEY, "", allowance, drain)
        assert [version.name for version in found] == ["a", "b"]
        assert begun[0].done()
    locked.close()


# The command


@dataclass
class Command:
    """Runs ``zdk ingest`` on local stores of a test's own.

    Attributes:
        folder: where they are; the files are in ``root`` in it.
    """

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ZDK_DATABASE_URL": f"sqlite:///{self.folder / 'zdk.db'}",
            "ZDK_ARTIFACTS_URL": str(self.folder / "blobs"),
        }

    def __call__(self, *words: str, fails: int = 0) -> Result:
        done = invoke_zdk("ingest", *words, "--local", environment=self.environment)
        assert done.exit_code == fails, done.output
        return done

    def json(self, *options: str, fails: int = 0) -> dict[str, Any]:
        done = self("root", *KEYS, "--json", *options, fails=fails)
        assert done.stderr == ""
        return dict(json.loads(done.stdout))

    def error(self, *words: str, fails: int = 2) -> dict[str, Any]:
        return dict(json.loads(self(*words, "--json", fails=fails).stderr)["error"])


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path)
    return Command(tmp_path)


def test_summary_for_machines(command: Command) -> None:
    put(command.root, {"a": b"12", "b.log": b"", ".hidden": b"3", "tmp/x": b""})
    (command.root / "link").symlink_to("a")
    os.mkfifo(command.root / "pipe")
    (command.root / os.fsdecode(b"\xff")).touch()
    found = command.json("--exclude", "*.log", "--exclude", "tmp/", fails=1)
    assert found.pop("seconds") >= 0
    assert found == {
        "dry_run": False,
        "stored": 2,
        "new": 2,
        "changed": 0,
        "unchanged": 0,
        "failed": 1,
        "bytes": 3,
        "skipped": {"links": 1, "special": 1, "excluded": 2},
        "failures": [
            {"file": "\\xff", "code": "invalid_request", "message": "its name is not UTF-8"}
        ],
    }
    (command.root / os.fsdecode(b"\xff")).unlink()
    again = command.json("--follow-links", "--dry-run", "--include", "a", "--include", "/link")
    assert (again["dry_run"], again["new"], again["unchanged"]) == (True, 1, 1)


def test_summary_for_people(command: Command) -> None:
    put(command.root, {"a": b"12", "b": b"3"})
    assert re.fullmatch(
        r"Stored +2 files \(2 new, 0 changed\), 3 bytes *\n"
        r"Unchanged +0 files *\nFailed +0 *\nSkipped +0 *\n"
        r"Time +\d+\.\d s *\nRate +[\d,]+/s, [\d.]+ (bytes|kB)/s *\n",
        command("root", *KEYS).stdout,
    )
    put(command.root, {"b": b"changed"})
    shown = command("root", *KEYS, "--dry-run")
    assert "Would store  1 file (0 new, 1 changed), 7 bytes" in shown.stdout
    assert shown.stderr == ""


def test_failures_are_printed_and_written(command: Command) -> None:
    for number in range(25):
        (command.root / os.fsdecode(b"\x1b[31m\xff%02d" % number)).touch()
    shown = command("root", *KEYS, fails=1).stderr.splitlines()
    assert shown[0] == r"zdk: \x1b[31m\xff00: its name is not UTF-8"
    assert len(shown) == 21
    assert shown[-1] == "zdk: and 5 more; --failures FILE writes all of them"

    shown = command("root", *KEYS, "--failures", "failures.jsonl", fails=1).stderr.splitlines()
    assert shown[-1] == "zdk: and 5 more; all are in failures.jsonl"
    written = [json.loads(line) for line in (command.folder / "failures.jsonl").open()]
    assert [failure["file"] for failure in written] == [f"\x1b[31m\\xff{n:02d}" for n in range(25)]
    assert written[0].keys() == {"file", "code", "message"}


def test_empty_folder_is_no_failure(command: Command) -> None:
    found = command.json()
    assert (found["stored"], found["failed"], found["failures"]) == (0, 0, [])
    assert "0 files" in command("root", *KEYS).stdout


def test_wrong_usage(command: Command) -> None:
    put(command.root, {"a": b""})
    assert command.error("missing", *KEYS)["field"] == "folder"
    assert "Not a directory" in command.error("root/a", *KEYS)["message"]
    assert command.error("root", "--app", "shop", "--user", "ann")["field"] == "session"
    assert command.error("root", *KEYS, "--include", "!")["field"] == "include"
    assert command.error("root", *KEYS, "--failures", "no/such/file")["field"] == "failures"
    command("root", "--app", "shop", fails=2)
    assert command.json()["new"] == 1


def test_users_artifacts_need_no_session(command: Command) -> None:
    put(command.root, {"a": b"1"})
    words = ["root", "--app", "shop", "--user", "ann", "--prefix", "user:h/", "--json"]
    assert json.loads(command(*words).stdout)["new"] == 1
    assert json.loads(command(*words).stdout)["unchanged"] == 1
    assert command.json("--prefix", "user:h/")["unchanged"] == 1


def test_without_a_worker_it_says_what_to_do(site: Site, tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"a": b"1"})
    words = ["ingest", str(root), *KEYS, "--timeout", "0.3"]
    done = run_zdk(*words, environment=site.environment, cwd=tmp_path)
    assert done.returncode == 5
    assert "zdk doctor" in done.stderr
    assert "run it again" in done.stderr
    assert done.stderr.count("\n") == 1


def test_examples_in_the_help_work(command: Command) -> None:
    for name in ("reports", "handbook"):
        put(command.folder / name, {"a.pdf": b"%PDF-1.7"})
    examples = re.findall(r"^Example: (.*)$", inspect.getdoc(ingest_folder) or "", re.MULTILINE)
    assert len(examples) == 4
    script = [f'zdk() {{ {shlex.quote(sys.executable)} -m api_client "$@" --local; }}', *examples]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(script).replace("/data", "./reports")],
        cwd=command.folder,
        env=clean_environment(command.environment),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
