"""What servers that run as children share: a port, a lock, a readiness check, a log's end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.embedded import EmbeddedStartFailed

if sys.platform != "win32":
    import fcntl

LOOPBACK = "127.0.0.1"
_PORT_ATTEMPTS = 5
_POLL_SECONDS = 0.005


def free_port() -> int:
    """A TCP port of the loopback interface which nobody uses now; somebody may take it next."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def on_free_port(port: int, launch: Callable[[int], None]) -> int:
    """Launch a server on a port; where any will do, on another one when somebody was faster.

    Parameters:
        port: the port to use, or 0 for any free one.
        launch: starts the server on the port it is given and waits until it is ready.

    Returns:
        The port on which the server was launched.

    Raises:
        EmbeddedStartFailed: what ``launch`` raised, unless another free port helped.
    """
    if port:
        launch(port)
        return port
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        chosen = free_port()
        try:
            launch(chosen)
        except EmbeddedStartFailed:
            if attempt == _PORT_ATTEMPTS or is_free(chosen):
                raise
        else:
            return chosen
    raise AssertionError("the loop above returns or raises")


def wait_until_ready(
    name: str,
    child: subprocess.Popen[bytes],
    ready: Callable[[], bool],
    *,
    timeout: float,
    log: Path,
) -> None:
    """Wait until a server is ready.

    Parameters:
        name: what to call the server in the error.
        child: the server's process.
        ready: tells whether the server answers; asked every few milliseconds.
        timeout: how long to wait, in seconds.
        log: the server's log, whose end goes into the error.

    Raises:
        EmbeddedStartFailed: the process ended, or the time was up.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        try:
            code = child.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
            problem = f"was not ready within {timeout:g} seconds"
        else:
            problem = f"ended with code {code}"
        raise EmbeddedStartFailed(f"{name} {problem}; {log} ends:\n{log_tail(log)}")


def log_tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message.

    Parameters:
        log: the file; one that cannot be read counts as empty.
        lines: how many lines at most.
    """
    try:
        text = log.read_text(errors="replace")
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing)"


@contextlib.contextmanager
def locked_folder(folder: Path, *, timeout: float) -> Iterator[int]:
    """Hold a folder's lock while a server that keeps its data there is being started.

    Yields the lock's descriptor, for the server to inherit: the lock then lasts exactly as long
    as the server, or a child it has forked to write files, even if this process dies first.

    Parameters:
        folder: the server's folder; the lock is its file ``lock``.
        timeout: how long to wait for a server that is still ending, in seconds.

    Raises:
        EmbeddedStartFailed: another server kept the lock for that long.
    """
    deadline = time.monotonic() + timeout
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise EmbeddedStartFailed(
                    f"another server has used {folder} for the last {timeout:g} seconds;"
                    " stop it, or choose another folder"
                )
            # A lock cannot be waited for with a deadline.
            time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(port: int) -> bool:
    """Whether nothing listens on ``port`` of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
