"""Real servers for all tests, started when the first test asks for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from _pytest.nodeid import NodeId

from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitMQMissing, RabbitMQServer, find_programs
from tests.support.workers import Stack, WorkerProcess
from worker.database import Database, DatabaseOptions
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade

_DATABASES = ("sqlite_memory", "sqlite_file", "postgresql")
_REDIS_SERVER = shutil.which("redis-server")
#: Whether everything shall go through RabbitMQ, as `make test-rabbitmq` has it.
_RABBITMQ = os.environ.get("ZDK_TEST_BROKER") == "rabbitmq"


#: Tests that need it are not even collected elsewhere.
collect_ignore = [] if _RABBITMQ else ["rabbitmq"]
# It takes earlier releases from git's history, which a downloaded archive does not have.
collect_ignore += [] if "ZDK_TEST_UPGRADE" in os.environ else ["integration/test_upgrade.py"]


def _transports() -> Iterator[str]:
    """Where clients and workers meet: in one process, at our Valkey, at this system's Redis."""
    if _RABBITMQ:
        yield "celery_rabbitmq"
        return
    yield from ("local", "celery")
    if _REDIS_SERVER is not None:
        yield "celery_redis"


#: All combinations, by name: database, transport.
STACKS = tuple(f"{database}-{transport}" for transport in _transports() for database in _DATABASES)
#: Those with a broker, which anybody can publish to.
BROKER_STACKS = tuple(name for name in STACKS if not name.endswith("-local"))
#: Those whose blobs are files.
FILE_STACKS = tuple(name for name in STACKS if not name.startswith("sqlite_memory"))


def pytest_configure() -> None:
    """Say at once what is missing."""
    if _RABBITMQ:
        try:
            find_programs()
        except RabbitMQMissing as error:
            raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL server; make a database of your own in it."""
    folder = tmp_path_factory.mktemp("postgres")
    with PostgresServer(folder, fsync=False, settings={"max_connections": "300"}) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey server; its databases 0 to 2 are used by the stacks."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """This system's Redis, with the same databases in use."""
    assert _REDIS_SERVER is not None, "only stacks with Redis need it"
    folder = tmp_path_factory.mktemp("redis")
    with EmbeddedValkey(folder, binary=Path(_REDIS_SERVER)) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer | None]:
    """This system's RabbitMQ, if everything shall go through it; make a virtual host of your own
    in it."""
    if not _RABBITMQ:
        yield None
        return
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session", params=STACKS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Each combination in turn. pytest runs all tests of one before it starts the next."""
    database, transport = request.param.split("-")
    folder = tmp_path_factory.mktemp(request.param)
    in_memory = database == "sqlite_memory"
    made = Stack(
        request.param,
        folder,
        database_url=_database_url(request, database, transport, folder),
        artifacts_url="memory://" if in_memory else f"file://{quote(str(folder / 'artifacts'))}",
    )
    try:
        if transport != "local":
            broker = "redis_server" if transport == "celery_redis" else "valkey_server"
            server: EmbeddedValkey = request.getfixturevalue(broker)
            made.broker_url = f"{server.url.removesuffix('/0')}/{_DATABASES.index(database)}"
            rabbitmq: RabbitMQServer | None = request.getfixturevalue("rabbitmq")
            if rabbitmq is not None:
                made.result_url = made.broker_url
                made.broker_url = rabbitmq.add_virtual_host(request.param)
            made.worker = WorkerProcess(
                folder,
                broker_url=made.broker_url,
                result_url=made.result_url,
                database_url=made.database_url,
                artifacts_url=made.artifacts_url,
                # Only one process can hold a store in memory.
                pool="solo" if in_memory else "prefork",
            )
            made.worker.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def sqlite_store_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated SQLite database; see `store_url`."""
    return _migrated(f"sqlite:///{tmp_path_factory.mktemp('store') / 'zdk.db'}")


@pytest.fixture(scope="session")
def postgresql_store_url(postgres: PostgresServer) -> str:
    """A migrated PostgreSQL database; see `store_url`."""
    return _migrated(postgres.create_database("store"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of each kind in turn.

    Nobody else uses it while a test runs; what earlier tests have left is for the test to delete.
    """
    url: str = request.getfixturevalue(f"{request.param}_store_url")
    return url


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Have one process run all tests of a stack, and all that are marked as an xdist_group."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            name = item.callspec.params.get("stack")
            if name is not None:
                item.add_marker(pytest.mark.xdist_group(str(name)))
    yield
    # xdist has now added the group to `_nodeid`, which pytest 9.2 no longer reads:
    # https://github.com/pytest-dev/pytest-xdist/issues/1386
    for item in items:
        if named := getattr(item, "_nodeid", None):
            item._id = NodeId.parse(named)
            assert item.nodeid == named


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the worker's log with a test that failed, and leave nothing of its clients'
    state to the next one."""
    report = yield
    used = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(used, Stack):
        if used.worker is not None:
            report.sections.append((f"end of {used.worker.log}", used.worker.log_tail()))
        used.discard_clients()
    return report


def _database_url(
    request: pytest.FixtureRequest, database: str, transport: str, folder: Path
) -> str:
    if database == "sqlite_memory":
        return "sqlite://"
    if database == "sqlite_file":
        return _migrated(f"sqlite:///{folder / 'zdk.db'}")
    server: PostgresServer = request.getfixturevalue("postgres")
    return _migrated(server.create_database(f"conformance_{transport}"))


def _migrated(url: str) -> str:
    database = Database(DatabaseOptions(url))
    try:
        upgrade(database)
    finally:
        database.close()
    return url
