"""A dump of PostgreSQL, by its own pg_dump and pg_restore, from a snapshot shared with us."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import make_dsn
from sqlalchemy import Connection, make_url, text

from api_client.contract.errors import InvalidRequest, Unavailable
from worker.database import Database

#: Seconds for which a dump waits for a table that is being changed.
_LOCK_WAIT = "60s"
_VERSION_SECONDS = 10.0
#: Seconds that connections of processes that have just ended may take to go.
_LEAVE_SECONDS = 3.0
_POLL_SECONDS = 0.1
#: From this version on what the programs make begins with a setting that earlier servers refuse
#: (``transaction_timeout``), so it cannot go back to where it came from.
_NO_WAY_BACK = 17


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's programs. Attributes: their folder; those on the PATH, if None."""

    folder: Path | None = None

    def find(self, name: str, at_least: int) -> str:
        """The path of a program that can talk to a server.

        Parameters:
            at_least: the server's major version.

        Raises:
            InvalidRequest: it is not there, older than the server, or so new that the server
                could not restore what it makes.
        """
        path = shutil.which(name, path=None if self.folder is None else str(self.folder))
        where = self.folder or "the PATH"
        advice = (
            f"install PostgreSQL's client programs of version {_fitting(at_least)} (Debian: "
            f"postgresql-client-{at_least}), or name their folder with --pg-bin"
        )
        if path is None:
            raise InvalidRequest(f"{name} is not in {where}; {advice}", field="pg_bin")
        if (version := _version(path)) < at_least:
            raise InvalidRequest(
                f"{path} is of version {version}, the server of {at_least}; {advice}",
                field="pg_bin",
            )
        if at_least < _NO_WAY_BACK <= version:
            raise InvalidRequest(
                f"{path} is of version {version}, and a server of {at_least} cannot restore what "
                f"it makes; {advice}",
                field="pg_bin",
            )
        return path


@contextmanager
def snapshot(database: Database, programs: Programs, dump: Path) -> Iterator[Connection]:
    """Write a dump, and yield a connection that sees exactly what it holds.

    Raises:
        InvalidRequest: there is no pg_dump for this server.
        Unavailable: it fails.
    """
    with database.read.connect() as connection:
        pg_dump = programs.find("pg_dump", server_version(connection))
        # A dump takes as long as it takes, and its snapshot must last.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        name = connection.scalar(text("SELECT pg_export_snapshot()"))
        options = ["--format=custom", f"--snapshot={name}", f"--lock-wait-timeout={_LOCK_WAIT}"]
        _run([pg_dump, *options, f"--file={dump}"], database)
        yield connection


def load(database: Database, programs: Programs, dump: Path, made_by: int) -> None:
    """Replace what is in the database by what a dump holds, in one transaction.

    Parameters:
        made_by: the major version of the server that the dump is of.

    Raises:
        InvalidRequest: there is no pg_restore for this server, or the server is older than the
            dump's.
        Unavailable: it fails; the database is as it was.
    """
    with database.read.connect() as connection:
        server = server_version(connection)
    if server < made_by:
        raise InvalidRequest(
            f"the server is of version {server}, the backup of {made_by}; restore into a server "
            "that is not older",
            field="database_url",
        )
    pg_restore = programs.find("pg_restore", server)
    _wait_until_alone(database)
    options = ["--single-transaction", "--exit-on-error", "--clean", "--if-exists"]
    _run([pg_restore, *options, "--no-owner", "--no-privileges", str(dump)], database)


#: Our own connections are of this process; the fence is one of them.
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'zdk-storage' AND NOT (query LIKE '%pg_advisory_lock%')"
    " AND pid <> pg_backend_pid()"
)


def _wait_until_alone(database: Database) -> None:
    deadline = time.monotonic() + _LEAVE_SECONDS
    while True:
        with database.single() as connection:
            others = connection.scalar(_OTHERS) or 0
        if not others:
            return
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{others} other connections of zdk-storage to the database are open; stop all "
                "workers",
                field="database_url",
            )
        time.sleep(_POLL_SECONDS)


def server_version(connection: Connection) -> int:
    """The server's major version."""
    return int(connection.scalar(text("SHOW server_version_num"))) // 10_000


def _run(command: Sequence[str], database: Database) -> None:
    dsn, environment = _reached(database)
    arguments = [command[0], "--no-password", f"--dbname={dsn}", *command[1:]]
    done = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{Path(command[0]).name} failed: {' '.join(said[:3])}")


def _reached(database: Database) -> tuple[str, Mapping[str, str]]:
    """How libpq reaches the database. The password is not among the arguments, which all see."""
    url = make_url(database.options.url)
    options = {key: value for key, value in url.query.items() if isinstance(value, str)}
    named = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
    dsn = make_dsn(**{key: str(value) for key, value in named.items() if value}, **options)
    password = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    return dsn, {**os.environ, **password}


def _fitting(server: int) -> str:
    """The versions of the programs that suit a server of this one."""
    newest = _NO_WAY_BACK - 1
    if server > newest:
        return f"{server} or later"
    return str(server) if server == newest else f"{server} to {newest}"


def _version(path: str) -> int:
    done = subprocess.run(
        [path, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
    )
    found = re.search(r"(\d+)(\.|devel|beta|rc|$)", done.stdout.strip())
    if done.returncode or found is None:
        raise InvalidRequest(f"{path} does not tell its version", field="pg_bin")
    return int(found.group(1))
