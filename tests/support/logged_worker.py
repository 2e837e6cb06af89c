"""A worker as ``zdk worker`` runs it, with a log of JSON documents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]

from tests.support.programs import clean_environment
from tests.support.waiting import wait_until
from worker.embedded.child import start_child, stop_child

Line = dict[str, Any]


@dataclass
class LoggedWorker:
    """Attributes: its process, and the file that it logs to."""

    child: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[Line]:
        """What it has logged; fails if a line is no JSON document."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, matches: Callable[[Line], bool], what: str) -> Line:
        """Wait until it has logged such a line, and return the first."""
        found = wait_until(lambda: [*filter(matches, self.lines())], what)
        return found[0]

    def wait_for_event(self, event: str, **fields: object) -> Line:
        """The same for an event that begins in this way, and has these fields."""

        def matches(line: Line) -> bool:
            return line["event"].startswith(event) and fields.items() <= line.items()

        return self.wait_for(matches, f"{event} {fields}")

    def pool(self) -> list[Any]:
        """Its pool processes."""
        return list(psutil.Process(self.child.pid).children())


@contextmanager
def logged_worker(
    folder: Path, environment: Mapping[str, str], *options: str
) -> Iterator[LoggedWorker]:
    """Run one, which may not be ready yet, or never be."""
    folder.mkdir(exist_ok=True)
    log = folder / "worker.log"
    with log.open("wb") as output:
        child = start_child(
            [*(sys.executable, "-m", "api_client", "worker", "--log-format", "json"), *options],
            env=clean_environment(environment),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield LoggedWorker(child, log)
    finally:
        stop_child(child, grace=10.0)
