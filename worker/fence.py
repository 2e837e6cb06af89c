"""Keeps the sweep from removing blobs while a backup copies them, or a restore brings them.

A backup takes the database first and the blobs afterwards. Meanwhile the last version that refers
to a blob may be deleted, and if the blob is old, no grace period spares it. So the backup holds the
fence for as long as it takes, and the sweep passes it for each removal. On PostgreSQL it is an
advisory lock, on SQLite a lock on a file beside the database; either ends with its process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from api_client.contract.errors import Unavailable
from worker.database import Database

#: Any number will do, as long as all processes use the same, and it is not that of migrations.
_ADVISORY_LOCK = 0x5A444B46
#: https://www.postgresql.org/docs/16/errcodes-appendix.html: lock_not_available.
_LOCKED = "55P03"


@contextmanager
def hold(database: Database) -> Iterator[None]:
    """Let nothing be swept meanwhile.

    Raises:
        Unavailable: another backup or restore of this database is going on.
    """
    if database.dialect == "sqlite":
        with _locked(database, fcntl.LOCK_EX):
            yield
        return
    connection = database.write.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        try:
            # Waits, for as long as the lock timeout says, for a removal that has begun.
            connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != _LOCKED:
                raise
            raise _busy() from error
        yield
    finally:
        # The lock ends with the connection, also one that was lost.
        connection.invalidate()
        connection.close()


@contextmanager
def passed(database: Database, connection: Connection) -> Iterator[None]:
    """Remove something, in the transaction of ``connection``, while nobody holds the fence.

    Raises:
        Unavailable: somebody does.
    """
    if database.dialect == "sqlite":
        with _locked(database, fcntl.LOCK_SH):
            yield
        return
    free = text(f"SELECT pg_try_advisory_xact_lock_shared({_ADVISORY_LOCK})")
    if not connection.scalar(free):
        raise _busy()
    yield


@contextmanager
def _locked(database: Database, kind: int) -> Iterator[None]:
    if database.in_memory:
        yield
        return
    path = Path(f"{make_url(database.options.url).database}-fence")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy() from error
        yield


def _busy() -> Unavailable:
    return Unavailable(
        "a backup or a restore of this database, or a sweep, is going on; try again when it is done"
    )
