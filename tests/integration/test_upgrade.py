"""Releases side by side, and one after the other, on the same database, broker and outbox files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import text

from api_client import Event, SessionKey, StorageClient, StorageError
from api_client.contract import codec
from api_client.contract.records import new_id
from tests.integration.conftest import Site
from tests.support.programs import run_python, run_zdk
from tests.support.releases import OUTBOX_1, PREVIOUS, SCHEMA_1, tree_of
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from worker.database import Database, DatabaseOptions
from worker.migrate import revision_of

KEY = SessionKey("app", "user", "s")
#: Issues operations that stay in an outbox, or fails; then ends without a farewell.
ISSUE = """
import os, sys
from api_client import ArtifactKey, Event, SessionKey, StorageClient, StorageError
broker, outbox, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
key = SessionKey("app", "user", "s")
try:
    client = StorageClient(broker, outbox)
except StorageError as error:
    print(type(error).__name__, error, flush=True)
    os._exit(7)
if first == 0:
    client.sessions.create(key).accepted.result(20)
    client.artifacts.save(ArtifactKey("app", "user", "s", "a"), b"x" * 300_000).accepted.result(20)
for number in range(first, last):
    client.sessions.append(key, Event(author="a", content=number)).accepted.result(20)
os._exit(0)
"""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the releases that these tests take from the history."""
    return tmp_path_factory.mktemp("releases")


def issue(tree: Path | None, site: Site, first: int, last: int) -> tuple[int, str]:
    """Have a client of a release issue the operations from ``first`` to ``last``."""
    arguments: Sequence[str] = ["-c", ISSUE, site.broker_url, "outbox.db", f"{first}", f"{last}"]
    environment = {} if tree is None else {"PYTHONPATH": str(tree)}
    done = run_python(arguments, environment=environment, cwd=site.folder)
    return done.returncode, done.stdout + done.stderr


def test_an_outbox_is_upgraded_and_not_downgraded_and_loses_nothing(
    site: Site, releases: Path
) -> None:
    former = tree_of(OUTBOX_1, releases)
    assert issue(former, site, 0, 20) == (0, "")
    assert issue(None, site, 20, 30) == (0, "")
    code, said = issue(former, site, 30, 40)
    assert (code, "Unavailable" in said, "format 2" in said) == (7, True, True), said
    with site.worker(pool="solo"), StorageClient(site.broker_url, site.folder / "outbox.db") as new:
        assert new.flush(timeout=60) == 0
        session = new.sessions.load(KEY).result(timeout=30)
        assert [event.content for event in session.events] == list(range(30))


def test_what_an_earlier_worker_does_not_know_has_a_clear_outcome(
    site: Site, releases: Path
) -> None:
    former = str(tree_of(OUTBOX_1, releases))
    with (
        site.worker(pool="solo", PYTHONPATH=former) as worker,
        StorageClient(site.broker_url) as client,
    ):
        client.sessions.create(KEY).result(timeout=30)
        with pytest.raises(StorageError, match="state"):
            client.sessions.shared_state("app", "user").result(timeout=30)
        client.sessions.append(KEY, Event(author="a", content="known")).result(timeout=30)
        assert worker.running
    store = open_store(site.environment["ZDK_DATABASE_URL"])
    assert contents(store, "s") == ["known"]
    store.close()


def test_what_a_later_client_sends_is_kept_if_it_is_not_known(site: Site) -> None:
    later = {"op": "session.append", "key": {"app": "app", "user": "user", "session": "s"}}
    event = {"id": "e", "author": "a", "timestamp": "2026-01-31T12:00:00Z", "content": "x"}
    messages = [
        {"version": 2, "id": new_id(), "operations": [later | {"events": [event]}]},
        {"version": 1, "id": new_id(), "operations": [{"op": "session.fork", "key": later["key"]}]},
        {"version": 1, "id": new_id(), "operations": [later | {"events": [event | {"mood": 1}]}]},
    ]
    with site.worker(pool="solo"), Celery(broker=site.broker_url, backend=site.broker_url) as app:
        replies = [
            app.send_task(codec.WRITE_TASK, [message], queue=codec.WRITE_QUEUE).get(timeout=30)
            for message in messages
        ]
        store = open_store(site.environment["ZDK_DATABASE_URL"])
        wait_until(lambda: len(letters(store)) == 3, "each is a dead letter")
    assert ["invalid_request" in json.dumps(reply) for reply in replies] == [True] * 3
    assert ["session.fork" in str(bytes(letter.body)) for letter in letters(store)].count(True) == 1
    store.close()


def test_a_running_worker_goes_on_when_a_later_release_migrates(
    postgres_site: Site, releases: Path
) -> None:
    previous = str(tree_of(PREVIOUS, releases))
    url = postgres_site.environment["ZDK_DATABASE_URL"]
    database = Database(DatabaseOptions(url))
    with (
        postgres_site.worker(pool="solo", PYTHONPATH=previous),
        StorageClient(postgres_site.broker_url) as client,
    ):
        client.sessions.create(KEY).result(timeout=30)
        with database.write.begin() as connection:
            for change in (
                "ALTER TABLE events ADD COLUMN kind TEXT",
                "ALTER TABLE sessions ADD COLUMN title TEXT NOT NULL DEFAULT ''",
                "CREATE TABLE labels (session_pk BIGINT NOT NULL, label TEXT NOT NULL)",
                "UPDATE alembic_version SET version_num = '9999'",
            ):
                connection.execute(text(change))
        other = SessionKey("app", "user", "other")
        client.sessions.append(KEY, Event(author="a", content="x")).result(timeout=30)
        client.sessions.create(other, state={"user:tier": 1}).result(timeout=30)
        assert client.sessions.load(KEY).result(timeout=30).revision == 1
    database.close()


def test_a_database_of_the_first_schema_is_refused_then_migrated_with_its_rows(
    tmp_path: Path, releases: Path
) -> None:
    former = {"PYTHONPATH": str(tree_of(SCHEMA_1, releases))}
    environment = {
        "ZDK_DATABASE_URL": f"sqlite:///{tmp_path / 'zdk.db'}",
        "ZDK_ARTIFACTS_URL": (tmp_path / "artifacts").as_uri(),
    }
    write = (
        "import os; from api_client import *\n"
        "client = StorageClient.local("
        "os.environ['ZDK_DATABASE_URL'], os.environ['ZDK_ARTIFACTS_URL'])\n"
        "key = SessionKey('app', 'user', 's')\n"
        "client.sessions.create(key); client.sessions.append(key, Event(author='a', content=1))\n"
        "assert client.flush(timeout=30) == 0; client.close()\n"
    )
    done = run_python(["-c", write], environment=environment | former, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    database = Database(DatabaseOptions(environment["ZDK_DATABASE_URL"]))
    assert revision_of(database) == "0001"
    refused = run_zdk("worker", environment=environment, cwd=tmp_path)
    assert (refused.returncode, "run zdk migrate" in refused.stderr) == (5, True)
    assert run_zdk("migrate", environment=environment, cwd=tmp_path).returncode == 0
    database.close()
    store = open_store(environment["ZDK_DATABASE_URL"])
    assert contents(store, "s") == [1]
    store.close()


def test_a_history_that_is_too_short_is_named(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=re.escape("git fetch --unshallow")):
        tree_of("no-such-release", tmp_path)
