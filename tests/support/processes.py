"""Waiting for processes that are not this process's own children."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable

import psutil  # type: ignore[import-untyped, unused-ignore]


def wait_for_end(pids: Iterable[int], *, timeout: float) -> None:
    """Wait until processes have ended, whether or not anybody has collected their exit codes.

    Parameters:
        pids: their process ids; those that are gone already count as ended.
        timeout: how long to wait for all of them, in seconds.

    Raises:
        TimeoutError: one of them still runs; the message names it.
    """
    deadline = time.monotonic() + timeout
    for pid in pids:
        if not _ends(pid, max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"process {pid} still runs after {timeout:g} seconds")


def _ends(pid: int, seconds: float) -> bool:
    if sys.platform != "linux":
        return (
            not psutil.pid_exists(pid)
            or not psutil.wait_procs([psutil.Process(pid)], timeout=seconds)[1]
        )
    try:
        # Unlike psutil, this does not take a zombie for alive. A container's first process may
        # take seconds to collect one.
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)
