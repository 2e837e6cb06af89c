"""Where the processes of a worker leave their counts (docs/decisions/0028).

Each has files of its own, which it maps into memory, and which whoever is asked for the metrics
adds up (https://prometheus.github.io/client_python/multiprocess/). They are named by the process's
place in the pool and not by its id: a process that takes the place of a dead one goes on with its
counts, and there are never more files than places.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import prometheus_client.values
from billiard import current_process
from celery.signals import worker_process_init

_PREFIX = "zdk-metrics-"
_MAIN = "main"

_place = _MAIN


def prepare_folder() -> Path:
    """Make the folder, and have all metrics that this process or its children make be kept there.

    Called in a worker's main process, before it makes any. Folders that killed workers have left
    are removed: each is locked for as long as a process of its worker lives.

    Raises:
        OSError: there is no room for it.
    """
    _remove_left_behind(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Open, and so locked, until the last process that inherits it ends.
    _lock(folder)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    prometheus_client.values.ValueClass = prometheus_client.values.MultiProcessValue(  # type: ignore[no-untyped-call]
        lambda: _place
    )
    worker_process_init.connect(_take_place)
    return folder


def _take_place(**_: object) -> None:
    global _place
    # A solo pool works in the main process.
    index = getattr(current_process(), "index", None)
    _place = _MAIN if index is None else f"pool{index}"


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as this process or a child of it lives.

    Returns None if a process holds it already, or if it is not ours.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_left_behind(place: Path) -> None:
    for found in place.glob(f"{_PREFIX}*"):
        descriptor = _lock(found)
        if descriptor is not None:
            shutil.rmtree(found, ignore_errors=True)
            os.close(descriptor)
