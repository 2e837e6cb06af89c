"""Celery workers, whosever app they run."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.programs import clean_environment
from worker.embedded.child import start_child, stop_child
from worker.embedded.server import wait_until_ready

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0


@contextlib.contextmanager
def running_workers(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path
) -> Iterator[list[int]]:
    """Workers that take messages, one for each command, until the end of the block.

    Parameters:
        commands: what to execute.
        environment: in addition to this process's, of which nothing that is this project's is kept.
        folder: for their logs, ``worker-1.log`` and so on; created.

    Yields their process ids.

    Raises:
        EmbeddedStartFailed: one has ended, or was not ready in time. The message ends its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as running:
        pids = []
        for number, command in enumerate(commands, 1):
            child = _start(command, environment, folder / f"worker-{number}.log")
            running.callback(stop_child, child, grace=_STOP_SECONDS)
            _await_ready(child, folder / f"worker-{number}.log")
            pids.append(child.pid)
        yield pids


def _start(
    command: Sequence[str], environment: Mapping[str, str], path: Path
) -> subprocess.Popen[bytes]:
    with path.open("wb") as log:
        return start_child(
            command,
            env=clean_environment(environment),
            cwd=path.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _await_ready(child: subprocess.Popen[bytes], path: Path) -> None:
    wait_until_ready(
        "the worker",
        child,
        lambda: b" ready.\n" in path.read_bytes(),
        timeout=_START_SECONDS,
        log=path,
    )
