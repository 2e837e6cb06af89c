"""Processes that the harness starts, loses, and starts again."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

from tests.support.processes import wait_for_end
from tests.support.programs import clean_environment
from worker.embedded.child import kill_child, start_child

log = logging.getLogger(__name__)

_KILL_SECONDS = 10.0
#: A process that dies by itself at once is not started again before this has passed.
_RESTART_PAUSE = 0.5


class Supervised:
    """One process, started again whenever it has ended, as long as it is wanted.

    Parameters:
        name: for the log and the report.
        folder: its working directory; the log is ``<name>.log`` there.
    """

    def __init__(self, name: str, folder: Path):
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0
        #: Whether it shall run; supervision starts it if it does not.
        self.wanted = True
        #: Whether its next end is our doing.
        self.excused = False
        #: Ends that were not our doing, with their exit codes.
        self.own_ends: list[str] = []
        self.starts = 0

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command of the next start, and its environment."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; raises ProcessLookupError if it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise ProcessLookupError(self.name)
        return self._child.pid

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, from the main thread, since it dies with the thread that starts it."""
        argv, environment = self.command()
        with self.log.open("ab") as output:
            self._child = start_child(
                argv,
                env=clean_environment(environment),
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.starts += 1
        log.info("%s started", self.name)
        self.excused = False
        self._next_start = time.monotonic() + _RESTART_PAUSE
        return self._child

    def supervise(self) -> None:
        """Note an end that nobody has caused, and start the process again if it is wanted."""
        if self._child is not None and (code := self._child.poll()) is not None:
            self._child = None
            log.info("%s ended with code %d, excused: %s", self.name, code, self.excused)
            if not self.excused:
                self.own_ends.append(f"{self.name} ended by itself with code {code}")
        if self._child is None and self.wanted and time.monotonic() >= self._next_start:
            self.start()

    def children(self) -> list[int]:
        """The ids of its child processes."""
        if self._child is None:
            return []
        try:
            found = psutil.Process(self._child.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process.pid for process in found]

    def send(self, number: signal.Signals) -> None:
        """Send a signal; if it has ended, do nothing."""
        if self._child is not None:
            self._child.send_signal(number)

    def end_with(self, number: signal.Signals) -> None:
        """Send a signal that ends it, which is our doing."""
        self.excused = True
        self.send(number)

    def kill(self) -> None:
        """Kill it with its children (SIGKILL), and wait until they are gone."""
        if self._child is None:
            return
        children = self.children()
        self.excused = True
        kill_child(self._child)
        # They die with it; the next start must not meet them.
        wait_for_end(children, timeout=_KILL_SECONDS)

    def finished(self) -> int | None:
        """Its exit code, or None if it runs or has never run."""
        return None if self._child is None else self._child.poll()


def pause_processes(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes, of which some may have ended."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
