"""One client at a time has an outbox file."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from api_client.contract.errors import Unavailable

#: Seconds between tries to lock, and how many: whoever only looks holds the lock for a moment.
_PAUSE = 0.02
_TRIES = 5


class InUse(Unavailable):
    """Another client has the outbox open."""


def lock_file(path: Path) -> int:
    """Take the lock of the outbox at ``path``; return its descriptor.

    Raises:
        InUse: another client holds it.
        Unavailable: the folder cannot be written.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if _lock(descriptor):
            return descriptor
    except OSError as error:
        raise Unavailable(f"the outbox {path} cannot be opened: {error}", field="outbox") from error
    raise InUse(
        f"the outbox {path} is in use by another client; close that one, give this one a "
        "file of its own, or give both a folder",
        field="outbox",
    )


def _lock(descriptor: int) -> bool:
    """Lock an open file, which is closed if that fails; whether nobody else has it locked."""
    with ExitStack() as failing:
        failing.callback(os.close, descriptor)
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                failing.pop_all()
                return True
            time.sleep(_PAUSE)
    return False


def in_use(path: Path) -> bool:
    """Whether a client, of any process, has the outbox at ``path`` open. Changes nothing."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: two that look at the same moment do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
