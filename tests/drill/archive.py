"""PostgreSQL's own way of losing nothing: a base backup, and each commit's log on another disk.

``pg_receivewal --synchronous`` stands for that disk: a commit is answered only when the log of it
is there. docs/backup.md shows the same with the settings of a real server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from tests.support.postgres import PostgresServer
from worker.embedded.child import kill_child, start_child
from worker.embedded.server import LOOPBACK

_NAME = "drill_archive"
_SECONDS = 60.0
_POLL_SECONDS = 0.05
_NOBODY = 65534


class Archive:
    """The log of a running server, and a base to begin with.

    Parameters:
        folder: for both.
        pg_bin: of PostgreSQL's programs.
    """

    def __init__(self, folder: Path, pg_bin: Path):
        self._base = folder / "base"
        self._log = folder / "wal"
        self._pg_bin = pg_bin
        self._receiver: subprocess.Popen[bytes] | None = None

    def start(self, server: PostgresServer) -> None:
        """Receive the log, have commits wait for it, and take the base."""
        self._log.mkdir(parents=True)
        place = f"host={LOOPBACK} port={server.port} user=postgres application_name={_NAME}"
        with (self._log.parent / "receiver.log").open("ab") as log:
            self._receiver = start_child(
                [
                    str(self._pg_bin / "pg_receivewal"),
                    f"--directory={self._log}",
                    f"--dbname={place}",
                    "--synchronous",
                    "--no-password",
                ],
                stdout=log,
                stderr=log,
            )
        with closing(psycopg2.connect(f"{place} dbname=postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{_NAME}'")
                cursor.execute("SELECT pg_reload_conf()")
                deadline = time.monotonic() + _SECONDS
                while True:
                    cursor.execute(
                        "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
                    )
                    row = cursor.fetchone()
                    if row is not None and row[0]:
                        break
                    if time.monotonic() > deadline:
                        raise TimeoutError("the log is not received")
                    time.sleep(_POLL_SECONDS)
        subprocess.run(
            [
                str(self._pg_bin / "pg_basebackup"),
                f"--pgdata={self._base}",
                f"--dbname={place}_base",
                "--checkpoint=fast",
                "--wal-method=none",
                "--no-password",
            ],
            check=True,
            timeout=_SECONDS,
            capture_output=True,
        )

    def recover(self, server: PostgresServer, data: Path) -> None:
        """Make the data folder of a stopped server anew, and have it replay the whole log.

        Parameters:
            data: the server's data folder, which is gone.
        """
        self.stop()
        # What was being received is whole up to the last commit that was answered.
        for partial in self._log.glob("*.partial"):
            partial.rename(partial.with_suffix(""))
        shutil.copytree(self._base, data)
        shutil.copytree(self._log, data / "archive")
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("restore_command = 'cp archive/%f %p'\n")
            settings.write("synchronous_standby_names = ''\n")
        data.chmod(0o700)
        if os.geteuid() == 0:
            for path in (data, *data.rglob("*")):
                os.chown(path, _NOBODY, -1, follow_symlinks=False)
        server.start(timeout=_SECONDS)

    def stop(self) -> None:
        """Receive no more."""
        if self._receiver is not None:
            kill_child(self._receiver)
            self._receiver = None
