"""Changes to a process under attack, made from outside: the product has no switches for tests."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.faults import mutations
from tests.faults.orders import Orders

#: The environment variable with the seconds by which a worker's clock is wrong.
CLOCK_VARIABLE = "ZDK_TEST_CLOCK"
#: The environment variable with a worker's name.
NAME_VARIABLE = "ZDK_TEST_NAME"

#: Places in a message's life where a worker can be told to die, in order.
POINTS = (
    "after-pop",
    "after-record",
    "before-commit",
    "after-commit",
    "before-ack",
    "after-ack",
)


def install_in_worker() -> None:
    """Patch this process, which is going to be a worker."""
    orders = Orders.of_this_process()
    name = os.environ[NAME_VARIABLE]
    _install_points(lambda point: _die_if_ordered(orders, f"kill-{name}", point))
    _install_full_blob_disk(orders)
    _install_clock(float(os.environ.get(CLOCK_VARIABLE, "0")))
    mutations.install_in_worker()


def install_in_client(name: str) -> None:
    """Patch this process, which is a client."""
    orders = Orders.of_this_process()
    _install_full_outbox_disk(orders, f"full-outbox-{name}")
    mutations.install_in_client()


def _die_if_ordered(orders: Orders, order: str, point: str) -> None:
    if orders.take(order, point):
        os.kill(os.getpid(), signal.SIGKILL)


def _install_points(reached: Callable[[str], None]) -> None:
    import amqp
    from celery.worker.request import Request
    from kombu.transport import virtual
    from sqlalchemy.engine.default import DefaultDialect

    from worker.broker.unacked import Unacked

    _around(virtual.Transport, "_deliver", before=lambda: reached("after-pop"))
    _around(amqp.Channel, "_on_basic_deliver", before=lambda: reached("after-pop"))
    _around(Unacked, "flush", after=lambda: reached("after-record"))
    _around(
        DefaultDialect,
        "do_commit",
        before=lambda: reached("before-commit"),
        after=lambda: reached("after-commit"),
    )
    _around(
        Request,
        "acknowledge",
        before=lambda: reached("before-ack"),
        after=lambda: reached("after-ack"),
    )


def _around(
    owner: type,
    name: str,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Have a method call something before and after it does its work."""
    original = getattr(owner, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    setattr(owner, name, method)


def _install_full_blob_disk(orders: Orders) -> None:
    from worker.artifacts.blobs.batch import FileBatch
    from worker.artifacts.blobs.filesystem import FilesystemBlobStore
    from worker.artifacts.blobs.uploads import FileUploads

    def full() -> None:
        if orders.standing("full-blobs") is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _around(FileBatch, "put", before=full)
    _around(FilesystemBlobStore, "offer", before=full)
    _around(FileUploads, "put", before=full)


def _install_full_outbox_disk(orders: Orders, order: str) -> None:
    from api_client.outbox.journal import FileJournal
    from api_client.outbox.spool import Spool

    def full_journal() -> None:
        if orders.standing(order) is not None:
            raise sqlite3.OperationalError("database or disk is full")

    def full_spool() -> None:
        if orders.standing(order) is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _around(FileJournal, "commit", before=full_journal)
    _around(Spool, "write", before=full_spool)


def _install_clock(seconds: float) -> None:
    """Shift the wall clock of what this project and kombu do by it; monotonic time stays."""
    if not seconds:
        return
    import kombu.transport.redis

    import worker.tasks

    true_time = time.time

    class ShiftedDatetime(datetime):
        """A datetime whose present is wrong."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            """The shifted present."""
            return datetime.now(tz) + timedelta(seconds=seconds)

    def shifted_time() -> float:
        return true_time() + seconds

    for module in (time, kombu.transport.redis):
        setattr(module, "time", shifted_time)  # noqa: B010 - it is no attribute for mypy
    own = [module for name, module in sys.modules.items() if name.startswith("worker.")]
    for module in own:
        # Where it annotates a column it must stay what it is.
        if vars(module).get("datetime") is datetime and module.__name__ != "worker.schema":
            setattr(module, "datetime", ShiftedDatetime)  # noqa: B010
    assert worker.tasks in own
