"""The worker's code for use inside a client's process (entry point ``zdk_storage.local``)."""

from __future__ import annotations

from worker.artifacts.blobs import open_blob_store
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage


def open_local_storage(database_url: str, artifacts_url: str) -> Storage:
    """A storage object over a database that is migrated first.

    Parameters:
        database_url, artifacts_url: see `worker.database` and `worker.artifacts.blobs`.

    Raises:
        InvalidRequest: a URL is malformed or of an unsupported kind.
        Unavailable: the database cannot be reached.
    """
    blobs = open_blob_store(artifacts_url)
    database = Database(DatabaseOptions(database_url))
    upgrade(database)
    return Storage(database, blobs)
