"""Client processes of their own, which do what they are told line by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.programs import clean_environment

_ROOT = Path(__file__).resolve().parents[1]
_END_SECONDS = 30.0


class Helper:
    """A Python process that reads one line, does what it says and prints one line, until its input
    ends: when this process closes it, or dies.

    Parameters:
        arguments: of the interpreter.
        log: where its errors go.
    """

    def __init__(self, arguments: list[str], log: Path):
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=clean_environment({"PYTHONPATH": str(_ROOT)}),
                # A Ctrl-C at the terminal reaches the parent alone.
                process_group=0,
            )
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def tell(self, line: str) -> None:
        """Have it do something."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()

    def hear(self) -> str:
        """Wait until it has done something, and return what it says.

        Raises:
            RuntimeError: it has ended instead.
        """
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"a client process has ended:\n{tail}")
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._child.kill()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(_END_SECONDS)
        self._child.stdout.close()
