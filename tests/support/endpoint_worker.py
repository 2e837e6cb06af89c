"""A worker as ``zdk worker`` runs it, with its HTTP endpoint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from worker.embedded.child import start_child
from worker.embedded.server import wait_until_ready

_SECONDS = 90.0


def start_endpoint_worker(
    folder: Path, log: Path, port: int, *, environment: Mapping[str, str], concurrency: int
) -> subprocess.Popen[bytes]:
    """Start one, and wait until it takes messages; `worker.embedded.child.stop_child` ends it.

    Parameters:
        folder: where it runs.
        log: its log is added to this file.
        port: of the endpoint.
        environment: all of it.
        concurrency: processes of its pool.
    """
    command = ["-m", "api_client", "worker", "--concurrency", str(concurrency)]
    begin = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as output:
        child = start_child(
            [sys.executable, *command, "--http-port", str(port)],
            env=dict(environment),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    wait_until_ready(
        "the worker",
        child,
        # An earlier one may have said so in the same file.
        lambda: b" ready.\n" in log.read_bytes()[begin:],
        timeout=_SECONDS,
        log=log,
    )
    return child
