"""A worker's log: one line a message, all lines in one form, and never what was written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from api_client import ArtifactKey, Event, NotFound, SessionKey, StorageClient, StorageError
from api_client.contract import codec
from tests.integration.conftest import Site, open_site
from tests.support.items import append, body, item, message
from tests.support.locks import held_sessions, wait_for_waiters
from tests.support.logged_worker import LoggedWorker, logged_worker
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until
from worker.database import Database, DatabaseOptions

# All tests look at the same worker's log.
pytestmark = pytest.mark.xdist_group("logs")

#: Stands in everything that must not stand in a log.
MARK = "mArk5ecret"
KEY = SessionKey("app", "user", "logged")


@dataclass
class Logged:
    """A worker whose every URL holds a password, and a client."""

    site: Site
    worker: LoggedWorker
    client: StorageClient
    database_url: str


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Logged]:
    folder = tmp_path_factory.mktemp("logs")
    plain = postgres.create_database("logs")
    with open_site(folder, plain) as site:
        with Redis.from_url(site.broker_url) as redis:
            redis.config_set("requirepass", MARK)
        broker = site.broker_url.replace("://", f"://:{MARK}@")
        # The server trusts everybody, and takes any password.
        url = plain.replace("://postgres@", f"://postgres:{MARK}@")
        assert MARK in url
        environment = site.environment | {
            "ZDK_BROKER_URL": broker,
            "ZDK_RESULT_URL": f"{broker}?client_name={MARK}",
            "ZDK_DATABASE_URL": f"{url}?fallback_application_name={MARK}",
            "ZDK_PATIENCE": "0.5",
        }
        options = ("--concurrency=1", "--loglevel=DEBUG")
        with (
            logged_worker(folder / "worker", environment, *options) as worker,
            StorageClient(broker) as client,
        ):
            client.sessions.create(KEY).result(timeout=60)
            yield Logged(site, worker, client, plain)


@pytest.fixture(autouse=True)
def _nothing_told(logged: Logged) -> Iterator[None]:
    """After each test: each line is a document, and none tells what was written."""
    yield
    assert logged.worker.lines()
    assert MARK not in logged.worker.log.read_text()


def test_a_message_is_one_line(logged: Logged, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "api_client"):
        receipt = logged.client.sessions.append(
            KEY, Event(author=MARK, content=MARK, state_delta={"step": MARK})
        )
        receipt.result(timeout=60)
    line = logged.worker.wait_for_event("message applied", message_id=receipt.message_id)

    assert line["logger"] == "worker.logs.lines"
    assert (line["level"], line["queue"]) == ("info", codec.WRITE_QUEUE)
    assert (line["operations"], line["applied"], line["failed"]) == (1, 1, 0)
    assert (line["tries"], line["together"]) == (1, 1)
    assert line["bytes"] > 3 * len(MARK)
    assert line["total_ms"] >= line["apply_ms"] + line["commit_ms"] > 0
    assert line["wait_ms"] >= 0
    found = [one for one in logged.worker.lines() if one.get("message_id") == receipt.message_id]
    assert len(found) == 1
    # The client names the same message, and itself in the same way.
    told = [vars(record) for record in caplog.records]
    sent = [one for one in told if one.get("request") == receipt.message_id]
    assert [one["msg"] for one in sent] == ["a request is sent", "a reply has come"]
    assert {one["client"] for one in sent} == {line["client"]}
    assert MARK not in caplog.text


def test_outcomes_are_counted_by_code(logged: Logged) -> None:
    nobody = SessionKey("app", "user", "nobody")
    receipt = logged.client.sessions.append(nobody, Event(author="a", content=MARK))
    with pytest.raises(NotFound):
        receipt.result(timeout=60)
    line = logged.worker.wait_for_event("message applied", message_id=receipt.message_id)
    assert (line["applied"], line["failed"], line["codes"]) == (0, 1, {"not_found": 1})


def test_a_query_is_one_line_for_debugging(logged: Logged) -> None:
    logged.client.sessions.load(KEY).result(timeout=60)
    line = logged.worker.wait_for_event("query answered", operation="session.load")
    assert line["level"] == "debug"
    assert line["queue"] == codec.READ_QUEUE


def test_artifacts(logged: Logged) -> None:
    key = ArtifactKey("app", "user", "logged", "report.txt")
    logged.client.artifacts.save(key, MARK, metadata={"note": MARK}).result(timeout=60)
    logged.client.artifacts.save(key, (MARK * 20_000).encode()).result(timeout=60)
    logged.client.artifacts.load(key).result(timeout=60)


def test_what_is_no_message(logged: Logged) -> None:
    redis_url = f"redis://:{MARK}@127.0.0.1:{logged.site.valkey.port}/0"
    bad = [
        f"{{{MARK}".encode(),
        json.dumps({"body": MARK, "headers": {MARK: MARK}}).encode(),
        json.dumps(item(body(MARK, MARK))).encode(),
        json.dumps(item(body({"version": 1, "id": MARK, "operations": MARK}))).encode(),
        json.dumps(item(body(message({"op": MARK, "key": MARK})))).encode(),
        json.dumps(item(body(message(append("logged", MARK) | {MARK: MARK})))).encode(),
    ]
    with Redis.from_url(redis_url) as redis:
        for one in bad:
            redis.lpush(codec.WRITE_QUEUE, one)
        wait_until(
            lambda: not redis.llen(codec.WRITE_QUEUE) and not redis.hlen("unacked"), "all is done"
        )
    logged.worker.wait_for_event("an item is refused")
    logged.worker.wait_for_event("a message is refused")


def test_what_the_database_refuses(logged: Logged) -> None:
    execute = partial(_execute, logged.database_url)
    # Its error quotes the row that was refused, as PostgreSQL's own do.
    execute("ALTER TABLE events ADD CONSTRAINT short CHECK (length(event_id) < 60) NOT VALID")
    try:
        long = Event(id=f"{MARK}{'x' * 60}", author="a", content=MARK)
        with pytest.raises(StorageError, match="CheckViolation") as caught:
            logged.client.sessions.append(KEY, long).result(timeout=60)
        assert MARK not in str(caught.value)
    finally:
        execute("ALTER TABLE events DROP CONSTRAINT short")
    line = logged.worker.wait_for_event("an operation cannot be applied")
    assert "CheckViolation: state 23514 events short" in line["exception"]
    assert "Traceback" in line["exception"]


def test_a_process_that_is_killed_at_work(logged: Logged) -> None:
    (process,) = logged.worker.pool()
    with held_sessions(logged.database_url):
        receipt = logged.client.sessions.append(KEY, Event(author="a", content=MARK))
        wait_for_waiters(logged.database_url)
        process.kill()
        process.wait(30)
    receipt.result(timeout=60)
    logged.worker.wait_for(lambda line: "SIGKILL" in json.dumps(line), "the death is told")


def test_a_database_that_drops_its_connections(logged: Logged) -> None:
    _execute(
        logged.database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()",
    )
    logged.client.sessions.append(KEY, Event(author="a", content=MARK)).result(timeout=60)
    line = logged.worker.wait_for_event("trouble, trying again until it passes")
    assert "AdminShutdown" in line["error"] or "OperationalError" in line["error"]


def test_urls_that_do_not_work(tmp_path: Path, logged: Logged) -> None:
    wrong = f"redis://:wrong{MARK}@127.0.0.1:{logged.site.valkey.port}/0"
    environment = logged.site.environment | {
        "ZDK_BROKER_URL": wrong,
        "ZDK_DATABASE_URL": f"postgresql://user:{MARK}@127.0.0.1:1/none?sslkey={MARK}",
    }
    with logged_worker(tmp_path / "wrong", environment, "--loglevel=DEBUG") as worker:
        worker.wait_for_event("the schema could not be looked at")
        cannot = "consumer: Cannot connect to redis://***@127.0.0.1"
        assert "invalid username-password" in worker.wait_for_event(cannot)["event"]
    assert worker.lines()
    assert MARK not in worker.log.read_text()


def _execute(url: str, statement: str) -> None:
    database = Database(DatabaseOptions(url))
    try:
        with database.write.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        database.close()
