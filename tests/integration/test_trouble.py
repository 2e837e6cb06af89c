"""Passing trouble of database and broker: nothing is lost, order is kept, and the log is brief."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api_client import Event, SessionKey, StorageClient, Unavailable
from api_client.contract import codec
from tests.integration.conftest import Site, open_site
from tests.support.locks import held_sessions
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitMQServer
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from worker.database import Database, DatabaseOptions

# All tests trouble the same worker.
pytestmark = pytest.mark.xdist_group("trouble")

KEYS = [SessionKey("app", "user", f"s{number}") for number in range(3)]
#: What the log says of trouble, before it names its kind.
TROUBLE = "trouble, trying again until it passes"
CONNECTIONS = 15
#: A worker that loses its patience soon, so that messages are handed back many times.
SETTINGS = {
    "ZDK_PATIENCE": "0.5",
    "ZDK_LOCK_TIMEOUT": "0.3",
    "ZDK_STATEMENT_TIMEOUT": "0.5",
    "ZDK_LOG_TASKS": "1",
}
#: As many pool processes as the worker has say something once.
POOL = 2


@dataclass
class Troubled:
    """A worker over servers that can be harmed, and a client that goes on meanwhile.

    Attributes:
        sent: how many events have been appended to each session.
    """

    site: Site
    postgres: PostgresServer
    worker: WorkerProcess
    client: StorageClient
    sent: int = 0

    @property
    def url(self) -> str:
        return self.site.environment["ZDK_DATABASE_URL"]

    def append(self, count: int = 5) -> None:
        """Accept events for all sessions, without waiting."""
        for _ in range(count):
            for key in KEYS:
                self.client.sessions.append(key, Event(author="a", content=self.sent))
            self.sent += 1

    def wait_for_log(self, words: str) -> None:
        """Wait until the log says something since the test began."""
        wait_until(lambda: words in self.log(), f"the log says {words!r}")

    def wait_for_tries(self, count: int = 6) -> None:
        """Wait until messages have been handed back and taken again."""
        begins = len(self.log())
        wait_until(lambda: self.log()[begins:].count("received") >= count, "tries were made")

    @contextmanager
    def outage(self, end: Callable[[PostgresServer], None] = PostgresServer.stop) -> Iterator[None]:
        """A time without a database."""
        end(self.postgres)
        try:
            yield
        finally:
            self.postgres.start()

    def log(self) -> str:
        return self.worker.log.read_text()[self._log_begins :]

    def begin(self) -> None:
        """Note where a test begins."""
        self._log_begins = len(self.worker.log.read_text())
        self._pid = self.worker.pid

    def queued(self) -> int:
        return sum(self.site.queues.counts(codec.WRITE_QUEUE))

    def check(self) -> None:
        """Everything has been applied once, in order, by the same worker, and nothing failed."""
        assert self.client.flush(timeout=60) == 0
        assert self.worker.pid == self._pid
        store = open_store(self.url)
        for key in KEYS:
            assert contents(store, key.session) == [*range(self.sent)]
        assert letters(store) == []
        store.close()
        wait_until(lambda: not self.queued(), "all is acknowledged")
        assert "Traceback" not in self.log()

    def execute(self, statement: str) -> None:
        """Run SQL in the database, by itself."""
        database = Database(DatabaseOptions(self.url))
        try:
            with database.write.begin() as connection:
                connection.exec_driver_sql(statement)
        finally:
            database.close()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQServer | None
) -> Iterator[Troubled]:
    folder = tmp_path_factory.mktemp("trouble")
    limits = {"max_connections": str(CONNECTIONS)}
    with (
        PostgresServer(folder / "postgres", fsync=False, settings=limits) as postgres,
        open_site(folder, postgres.create_database("trouble"), rabbitmq) as site,
        site.worker(concurrency=POOL, **SETTINGS) as worker,
        site.client() as client,
    ):
        for key in KEYS:
            client.sessions.create(key)
        assert client.flush(timeout=60) == 0
        yield Troubled(site, postgres, worker, client)


@pytest.fixture
def troubled(shared: Troubled) -> Iterator[Troubled]:
    """The worker, unharmed before and after."""
    shared.begin()
    shared.append()
    yield shared
    shared.append()
    shared.check()


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.crash])
def test_a_database_that_goes_and_comes_back(
    troubled: Troubled, end: Callable[[PostgresServer], None]
) -> None:
    troubled.append()
    with troubled.outage(end):
        troubled.append()
        # What comes meanwhile and is no message of ours is kept afterwards.
        troubled.site.queues.put(codec.WRITE_QUEUE, b"garbage")
        troubled.wait_for_log("is refused")
        troubled.wait_for_tries()
    (letter,) = wait_until(partial(kept, troubled.url), "the garbage is kept")
    assert letter == b"garbage"
    troubled.execute("DELETE FROM dead_letters")


def kept(url: str) -> list[bytes]:
    """The bytes of all dead letters."""
    store = open_store(url)
    found = [bytes(letter.body) for letter in letters(store)]
    store.close()
    return found


def test_an_outage_is_told_once_and_not_at_each_try(troubled: Troubled) -> None:
    assert troubled.client.flush(timeout=60) == 0
    begins = len(troubled.log())
    with troubled.outage():
        troubled.append()
        troubled.wait_for_tries(12)
    assert troubled.client.flush(timeout=60) == 0
    told = [line for line in troubled.log()[begins:].splitlines() if " info " not in line]
    # Of each kind there is one line of each process, and there are few kinds: the connection that
    # breaks, the one that is refused, the server that is starting.
    assert all(TROUBLE in line for line in told)
    assert len(told) <= 3 * POOL


def test_connections_that_are_exhausted(troubled: Troubled) -> None:
    assert troubled.client.flush(timeout=60) == 0
    with ExitStack() as taken:
        database = Database(
            DatabaseOptions(troubled.url, pool_size=CONNECTIONS + 5, pool_pre_ping=False)
        )
        taken.callback(database.close)
        first = taken.enter_context(database.write.connect())
        # The worker's own go first, and it does not need new ones before there is work.
        first.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        )

        def take_all() -> None:
            for _ in range(CONNECTIONS + 5):
                taken.enter_context(database.write.connect())

        with pytest.raises(OperationalError, match="too many clients"):
            take_all()
        troubled.append()
        troubled.wait_for_tries()


def test_a_row_that_is_locked_for_longer_than_the_worker_waits(troubled: Troubled) -> None:
    assert troubled.client.flush(timeout=60) == 0
    with held_sessions(troubled.url):
        troubled.append()
        troubled.wait_for_log("lock timeout")


@contextmanager
def raising(troubled: Troubled, action: str) -> Iterator[None]:
    """Have each insert of an event do something else instead."""
    troubled.execute(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {action}; RETURN NEW; END $$"
    )
    troubled.execute(
        "CREATE TRIGGER trouble BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION trouble()"
    )
    try:
        yield
    finally:
        troubled.execute("DROP FUNCTION trouble CASCADE")


@pytest.mark.parametrize(
    "state",
    [
        "40P01",  # deadlock detected
        "40001",  # serialization failure
        "53100",  # disk full
        "53200",  # out of memory
        "57P01",  # terminated by an administrator
        "25006",  # a replica, just after a failover
    ],
)
def test_a_server_in_trouble(troubled: Troubled, state: str) -> None:
    with raising(troubled, f"RAISE EXCEPTION 'trouble {state}' USING ERRCODE = '{state}'"):
        troubled.append()
        troubled.wait_for_log(f"trouble {state}")


def test_a_statement_that_takes_too_long(troubled: Troubled) -> None:
    with raising(troubled, "PERFORM pg_sleep(10)"):
        troubled.append()
        troubled.wait_for_log("statement timeout")


def test_a_schema_that_is_away_for_a_while(troubled: Troubled) -> None:
    assert troubled.client.flush(timeout=60) == 0
    troubled.execute("ALTER SCHEMA public RENAME TO away")
    troubled.append()
    troubled.wait_for_log("does not exist")
    troubled.execute("ALTER SCHEMA away RENAME TO public")


def test_a_broker_that_is_restarted(troubled: Troubled) -> None:
    troubled.append()
    broker = troubled.site.rabbitmq or troubled.site.valkey
    broker.stop()
    troubled.append()
    broker.start()
    troubled.append()
    assert troubled.client.flush(timeout=60) == 0
    # Celery tells of a lost broker with its stack.
    troubled.begin()
    # What could not be acknowledged at that moment comes again after minutes, and the ledger
    # answers.
    with Redis.from_url(troubled.site.valkey.url) as redis:
        redis.delete("unacked", "unacked_index")


def test_an_operator_may_have_messages_given_up(shared: Troubled) -> None:
    other = SessionKey("app", "user", "given up")
    shared.worker.stop()
    with (
        shared.site.worker("impatient", ZDK_GIVE_UP_AFTER="2", **SETTINGS),  # type: ignore[arg-type]
        shared.site.client() as client,
    ):
        client.sessions.create(other).result(timeout=60)
        with (
            raising(shared, "RAISE EXCEPTION 'no space' USING ERRCODE = '53100'"),
            pytest.raises(Unavailable, match=r"given up after 2 tries .* no space"),
        ):
            client.sessions.append(other, Event(author="a", content=1)).result(timeout=60)
        client.sessions.append(other, Event(author="a", content=2)).result(timeout=60)
        store = open_store(shared.url)
        assert contents(store, "given up") == [2]
        store.close()
