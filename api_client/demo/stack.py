"""Runs ``zdk up`` as a process of its own, as a newcomer would."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from api_client.contract.errors import Unavailable

_READY_SECONDS = 90.0
_RESTART_SECONDS = 30.0
_STOP_SECONDS = 45.0
_LOOK_EVERY = 0.05


class DemoStack:
    """An embedded stack in ``folder``, stopped on leaving the ``with`` block.

    Parameters:
        folder: where it keeps everything.
        workers: how many workers.
    """

    def __init__(self, folder: Path, workers: int):
        self._folder = folder
        self._workers = workers

    def __enter__(self) -> DemoStack:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "api_client", "up", "--json"),
                f"--folder={self._folder}",
                f"--workers={self._workers}",
            ],
            stdout=subprocess.PIPE,
        )
        try:
            ready = json.loads(self._first_line())
        except BaseException:
            self._stop()
            raise
        self.environment: dict[str, str] = ready["environment"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def kill_worker(self) -> int:
        """SIGKILL the first worker; return its process id."""
        pid = self._worker_pids()[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def await_restart(self, killed: int) -> int:
        """Wait until another worker stands in for ``killed``; return its process id.

        Raises:
            Unavailable: that takes longer than 30 seconds.
        """
        deadline = time.monotonic() + _RESTART_SECONDS
        while time.monotonic() < deadline:
            first = self._worker_pids()[0]
            if first != killed:
                return first
            time.sleep(_LOOK_EVERY)
        raise Unavailable("the killed worker was not started again")

    def _worker_pids(self) -> list[int]:
        state = json.loads((self._folder / "up.json").read_text())
        return [int(pid) for pid in state["worker_pids"]]

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if selector.select(_READY_SECONDS):
                line: bytes = self._process.stdout.readline()
                if line:
                    return line
        raise Unavailable("zdk up did not come up; its message is above")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
