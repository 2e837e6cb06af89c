"""The databases that the property tests run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import PostgresServer
from worker.artifacts.blobs import MemoryBlobStore
from worker.database import Database, DatabaseOptions
from worker.schema import metadata
from worker.storage import Storage

#: Opens a storage object that holds nothing yet.
OpenStorage = Callable[[], Storage]

settings.register_profile(
    "property",
    derandomize=False,
    print_blob=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def in_memory() -> Storage:
    """A storage object over SQLite in memory."""
    storage = Storage(Database(DatabaseOptions("sqlite://")), MemoryBlobStore(), patience=0.0)
    with storage.database.write.begin() as connection:
        metadata.create_all(connection)
    return storage


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with the tables."""
    url = postgres.create_database("property")
    database = Database(DatabaseOptions(url))
    with database.write.begin() as connection:
        metadata.create_all(connection)
    database.close()
    yield url
    postgres.drop_database("property")


@pytest.fixture(scope="session")
def open_postgres(postgres_url: str) -> OpenStorage:
    """Opens a storage object over PostgreSQL, emptied first."""
    tables = ", ".join(metadata.tables)

    def opened() -> Storage:
        options = DatabaseOptions(postgres_url, pool_size=1, pool_overflow=10)
        storage = Storage(Database(options), MemoryBlobStore(), patience=0.0)
        with storage.database.write.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
        return storage

    return opened


@pytest.fixture(params=["sqlite_memory", "postgresql"])
def open_storage(request: pytest.FixtureRequest) -> OpenStorage:
    """Each database in turn."""
    if request.param == "sqlite_memory":
        return in_memory
    opened: OpenStorage = request.getfixturevalue("open_postgres")
    return opened


@pytest.fixture
def storage(open_storage: OpenStorage) -> Iterator[Storage]:
    """An empty storage object over each database in turn, as patient as a worker's."""
    opened = open_storage()
    yield Storage(opened.database, opened.blobs)
    opened.close()
