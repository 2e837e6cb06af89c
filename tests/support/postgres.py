"""A real PostgreSQL for tests, which can be stopped, crashed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

import psutil  # type: ignore[import-untyped, unused-ignore]
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor

from tests.support.postgres_binaries import programs
from tests.support.processes import wait_for_end
from worker.embedded import EmbeddedStartFailed
from worker.embedded.child import kill_child, start_child, stop_child
from worker.embedded.server import LOOPBACK, log_tail, on_free_port, wait_until_ready

_NOBODY = 65534
_INITDB_SECONDS = 60.0
_CRASH_SECONDS = 10.0
_CONNECT_SECONDS = 10


class PostgresServer:
    """A PostgreSQL server that keeps its data in a folder and dies with this process.

    Start it from a thread that lives as long as the server shall, normally the main thread. It
    listens on the loopback interface only and trusts everybody there. Since PostgreSQL refuses to
    run as root, root's tests run it as user 65534 (nobody); all others run it as themselves.

    Parameters:
        folder: where data and log (``postgres.log``) are kept; created if missing. It may lie in
            a private folder, such as pytest's ``tmp_path``.
        port: the TCP port, or 0 for a free one, which is then kept over restarts.
        fsync: False saves the time of fsync. A crash of the server alone loses nothing either way.
        settings: settings of postgresql.conf by name; they replace those made here.
        version: the major version, 16 or 18.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        fsync: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
        version: int = 16,
    ) -> None:
        self._folder = folder.absolute()
        self._data = self._folder / "data"
        self._log = self._folder / "postgres.log"
        self._port = port
        self._version = version
        self._user = _NOBODY if os.geteuid() == 0 else os.geteuid()
        self._settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": "100",
            "fsync": "on" if fsync else "off",
            # In the data folder, where a crash leaves nothing behind that a restart or the
            # folder's removal would not take away, unlike in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            **settings,
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port; raises RuntimeError until one has been chosen."""
        if not self._port:
            raise RuntimeError("the port is chosen by start(), which has not been called")
        return self._port

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database, whether it exists or not.

        Parameters:
            database: the database's name.

        Raises:
            RuntimeError: the port has not been chosen yet.
        """
        return f"postgresql+psycopg2://postgres@{LOOPBACK}:{self.port}/{quote(database, safe='')}"

    def start(self, *, timeout: float = 30.0) -> None:
        """Start the server, first making its data folder if there is none, until it is ready.

        Parameters:
            timeout: how long it may take to become ready, a recovery included, in seconds.

        Raises:
            EmbeddedStartFailed: initdb failed, or the server ended or was not ready in time. The
                message names the log and ends with its last lines.
            RuntimeError: it is running already.
        """
        if self._child is not None and self._child.poll() is None:
            raise RuntimeError("the server is running already")
        if not (self._data / "PG_VERSION").exists():
            self._make_data()
        self._port = on_free_port(self._port, lambda port: self._launch(port, timeout))

    def stop(self, grace: float = 10.0) -> None:
        """End all connections and stop the server; if it is not running, do nothing.

        Parameters:
            grace: how long to wait before it is killed, in seconds.
        """
        if self._child is not None:
            # SIGTERM would wait for clients to disconnect, which pools never do.
            stop_child(self._child, grace=grace, signal_number=signal.SIGINT)
            self._child = None

    def crash(self) -> None:
        """Kill the server and all its processes at once (SIGKILL).

        If it is not running, do nothing. The next `start` recovers what was committed; until
        then, 56 bytes of System V shared memory stay allocated. This is less than a power cut:
        what was written but not fsynced survives in the kernel.

        Raises:
            TimeoutError: a process outlived SIGKILL by 10 seconds.
        """
        if self._child is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._child.pid)
            # A stopped postmaster starts no process that the list below would miss.
            postmaster.suspend()
            children = postmaster.children(recursive=True)
            postmaster.kill()
            for process in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            # The next start is refused while one of them holds the shared memory.
            wait_for_end([process.pid for process in children], timeout=_CRASH_SECONDS)
        kill_child(self._child)
        self._child = None

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL.

        Parameters:
            name: the database's name, any text.

        Raises:
            psycopg2.Error: there is one of that name, or the server does not answer.
        """
        with self._cursor() as execute:
            execute.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, ending its connections; if there is none, do nothing.

        Parameters:
            name: the database's name.

        Raises:
            psycopg2.Error: the server does not answer.
        """
        with self._cursor() as execute:
            execute.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[cursor]:
        with contextlib.closing(
            psycopg2.connect(
                host=LOOPBACK,
                port=self.port,
                user="postgres",
                dbname="postgres",
                connect_timeout=_CONNECT_SECONDS,
            )
        ) as connection:
            # Databases are not created and dropped within transactions.
            connection.autocommit = True
            with connection.cursor() as opened:
                yield opened

    def _make_data(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)
        self._data.chmod(0o700)
        if self._user != os.geteuid():
            os.chown(self._data, self._user, -1)
        # fsync would only guard against the machine's failure before the first test.
        child = self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        try:
            code = child.wait(_INITDB_SECONDS)
        except BaseException:
            kill_child(child)
            shutil.rmtree(self._data)
            raise
        if code != 0:
            shutil.rmtree(self._data)
            raise EmbeddedStartFailed(
                f"initdb ended with code {code}; {self._log} ends:\n{log_tail(self._log)}"
            )

    def _launch(self, port: int, timeout: float) -> None:
        settings = (f"--{name}={value}" for name, value in self._settings.items())
        child = self._run("postgres", f"--port={port}", *settings)
        try:
            wait_until_ready(
                "postgres",
                child,
                lambda: self._says_ready(child.pid),
                timeout=timeout,
                log=self._log,
            )
        except BaseException:
            kill_child(child)
            raise
        self._child = child

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs on the data folder."""
        # Under root, tmp_path lies in folders that nobody may not enter. Rather than open those,
        # the server is put into its data folder, and reaches it through its working directory.
        data = "/proc/self/cwd" if sys.platform == "linux" else str(self._data)
        with self._log.open("ab") as log:
            return start_child(
                [str(programs(self._version, self._user) / program), "-D", data, *arguments],
                stdout=log,
                stderr=log,
                cwd=self._data,
                user=self._user,
            )

    def _says_ready(self, pid: int) -> bool:
        """Whether the server has noted in its lock file that it takes connections.

        This is how pg_ctl waits. A connection would not tell this server from another one that
        has the port.
        """
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
