"""One client at a time has an outbox file."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from api_client.contract.errors import Unavailable

#: Seconds between tries to lock, and how many: whoever only looks holds the lock for a moment.
_PAUSE = 0.02
_TRIES = 5


def lock_file(path: Path) -> int:
    """Take the lock of the outbox at ``path``; return its descriptor.

    Raises:
        Unavailable: another client holds it, or the folder cannot be written.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"the outbox {path} cannot be opened: {error}", field="outbox") from error
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return descriptor
    os.close(descriptor)
    raise Unavailable(
        f"the outbox {path} is in use by another client; close that one, give this one a "
        "file of its own, or give both a folder",
        field="outbox",
    )


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
