"""Workers side by side share the load without a setting, within a budget of connections."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from redis import Redis
from sqlalchemy import text

from api_client import ArtifactKey, Event, NotFound, SessionKey, StorageClient
from api_client.contract import codec
from tests.integration.conftest import Site
from tests.support.programs import run_zdk
from tests.support.stores import contents, ledger_size, letters, open_store
from tests.support.waiting import wait_until
from worker.storage import Storage

WORKERS = 4
PROCESSES = 2
KEYS = [SessionKey("app", "user", f"s{number}") for number in range(40)]
#: Notes over which connection each message is applied.
WITNESS = (
    "CREATE TABLE witness (message_id uuid PRIMARY KEY, connection integer NOT NULL)",
    "CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO witness VALUES (NEW.message_id, pg_backend_pid()); RETURN NEW; END $$",
    "CREATE TRIGGER witness AFTER INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION witness()",
)


def test_each_worker_has_its_share_and_each_message_is_applied_once(postgres_site: Site) -> None:
    with ExitStack() as running:
        store = open_store(postgres_site.environment["ZDK_DATABASE_URL"])
        running.callback(store.close)
        with store.database.write.begin() as connection:
            for statement in WITNESS:
                connection.exec_driver_sql(statement)
        for number in range(WORKERS):
            running.enter_context(postgres_site.worker(f"worker-{number}"))
        client = running.enter_context(StorageClient(postgres_site.broker_url))
        for key in KEYS:
            client.sessions.create(key)
        sent = 0

        def all_have_worked() -> bool:
            nonlocal sent
            for key in KEYS:
                client.sessions.append(key, Event(author="a", content=sent))
            sent += 1
            assert client.flush(timeout=60) == 0
            return len(shares(store)) == WORKERS

        # A worker's only pool process has one connection.
        wait_until(all_have_worked, "each worker has applied messages", timeout=60)
        for key in KEYS:
            assert contents(store, key.session) == [*range(sent)]
        assert letters(store) == []
        assert sum(shares(store).values()) == ledger_size(store)


def shares(store: Storage) -> dict[int, int]:
    """How many messages were applied over each connection."""
    with store.database.read.connect() as connection:
        counted = text("SELECT connection, count(*) FROM witness GROUP BY connection")
        return {row[0]: row[1] for row in connection.execute(counted)}


def busy(site: Site) -> None:
    """Do one of each kind of work: what is applied, read, refused, fails and is kept."""
    with StorageClient(site.broker_url) as client:
        for key in KEYS:
            client.sessions.create(key, state={"user:x": 1, "app:y": 2})
            client.sessions.append(key, Event(author="a", content="hi"))
            client.sessions.append(SessionKey("app", "user", "nobody's"), Event(author="a"))
            client.artifacts.save(ArtifactKey("app", "user", key.session, "a.txt"), b"text")
        assert client.flush(timeout=60) == 0
        asked = [
            receipt
            for key in KEYS
            for receipt in (
                client.sessions.load(key, last=1),
                client.sessions.list("app", state=True),
                client.artifacts.load(ArtifactKey("app", "user", key.session, "a.txt")),
            )
        ]
        for receipt in asked:
            receipt.result(timeout=60)
        with pytest.raises(NotFound):
            client.sessions.load(SessionKey("app", "user", "nobody's")).result(timeout=60)
    with Redis.from_url(site.broker_url) as redis:
        redis.lpush(codec.WRITE_QUEUE, b"garbage")


def test_a_pool_process_opens_one_connection_and_the_worker_none(postgres_site: Site) -> None:
    # A pool that may keep more would keep as many as were ever used at once.
    with postgres_site.worker(concurrency=PROCESSES, ZDK_POOL_SIZE="5", ZDK_POOL_OVERFLOW="5"):
        busy(postgres_site)
        store = open_store(postgres_site.environment["ZDK_DATABASE_URL"])
        wait_until(lambda: any(not letter.app for letter in letters(store)), "the garbage is kept")
        with store.database.write.connect() as connection:
            opened = connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        store.close()
    assert 1 <= opened <= PROCESSES


@pytest.mark.parametrize(
    "command",
    [
        ("doctor", "--skip=round-trip"),
        ("dead-letters", "list"),
        ("dead-letters", "discard", "--all"),
        ("artifacts", "verify"),
        ("sweep", "--grace=0"),
        ("migrate",),
    ],
    ids=" ".join,
)
def test_an_operators_command_needs_one_connection(
    postgres_site: Site, command: tuple[str, ...]
) -> None:
    with postgres_site.worker():
        busy(postgres_site)
    # Whoever wanted a second one would fail for want of it.
    own = {**postgres_site.environment, "ZDK_POOL_TIMEOUT": "0.1", "ZDK_PATIENCE": "0"}
    done = run_zdk(*command, environment=own, cwd=postgres_site.folder)
    assert done.returncode == 0, done.stdout + done.stderr
