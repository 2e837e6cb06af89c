"""A worker that marked content kills: ``celery -A tests.support.deadly_worker`` is ours, patched.

`KILLS` in an operation or a query kills the process that works on it, `HANGS` stops it for ever.
Each time a line is added to a file.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api_client.contract import codec
from tests.support.deadly import HANGS, KILLS, TALLY_VARIABLE
from worker.storage import Storage
from worker.tasks import app

__all__ = ["app"]

_apply, _query = Storage.apply, Storage.query


def _deadly_apply(storage: Storage, messages: Sequence[codec.Message], **rest: Any) -> Any:
    _meet(b"".join(bytes(operation) for message in messages for operation in message.operations))
    return _apply(storage, messages, **rest)


def _deadly_query(storage: Storage, query: Any) -> Any:
    _meet(codec.encode(query))
    return _query(storage, query)


def _meet(content: bytes) -> None:
    if KILLS.encode() in content:
        _tally()
        os.kill(os.getpid(), signal.SIGKILL)
    if HANGS.encode() in content:
        _tally()
        threading.Event().wait()


def _tally() -> None:
    with Path(os.environ[TALLY_VARIABLE]).open("ab") as file:
        file.write(b"%d\n" % os.getpid())


Storage.apply = _deadly_apply  # type: ignore[method-assign,assignment]
Storage.query = _deadly_query  # type: ignore[method-assign,assignment]
