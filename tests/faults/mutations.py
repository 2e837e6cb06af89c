"""Switches off one protection of the product at a time, to see that the audit notices.

A process applies the mutation that `VARIABLE` names, if any; only `tests.faults` reads it.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

from api_client.outbox.entries import Entry

#: The environment variable that names the mutation.
VARIABLE = "ZDK_TEST_MUTANT"


def install_in_worker() -> None:
    """Apply the worker's part of the mutation asked for."""
    _IN_WORKER.get(os.environ.get(VARIABLE, ""), _nothing)()


def install_in_client() -> None:
    """Apply the client's part of the mutation asked for."""
    _IN_CLIENT.get(os.environ.get(VARIABLE, ""), _nothing)()


def _nothing() -> None:
    """The product as it is."""


def _no_ledger() -> None:
    from worker import ledger

    def find(*_: Any) -> dict[str, Any]:
        return {}

    def record(*_: Any) -> None:
        return None

    for name, function in {"find": find, "claim": find, "record": record}.items():
        setattr(ledger, name, function)


def _no_resend() -> None:
    from api_client.outbox.schedule import Schedule

    sent = Schedule.sent

    def sent_once(self: Schedule, message_id: str, now: float) -> None:
        sent(self, message_id, now)
        dispatch = self._on_way.get(message_id)
        if dispatch is not None:
            dispatch.due = float("inf")

    Schedule.sent = sent_once  # type: ignore[method-assign]


def _no_stop_and_wait() -> None:
    from api_client.outbox.schedule import Schedule

    def offer_although_busy(self: Schedule, entry: Entry, heap: list[tuple[int, Entry]]) -> None:
        first = all(self._waiting[key][0] is entry for key in entry.keys)
        known = any(waiting is entry for _, waiting in heap)
        if first and not known and entry.id not in self._unprepared:
            heapq.heappush(heap, (entry.id, entry))

    Schedule._offer = offer_although_busy  # type: ignore[method-assign]


def _no_row_lock() -> None:
    from sqlalchemy.engine.default import DefaultDialect
    from sqlalchemy.sql.selectable import Select

    do_commit = DefaultDialect.do_commit

    def with_for_update(self: Any, **_: Any) -> Any:
        return self

    def slow_commit(self: DefaultDialect, connection: Any) -> None:
        # A disk slow enough that transactions on one session meet.
        time.sleep(0.03)
        do_commit(self, connection)  # type: ignore[no-untyped-call]

    Select.with_for_update = with_for_update  # type: ignore[method-assign]
    DefaultDialect.do_commit = slow_commit  # type: ignore[method-assign]


def _bytes_after_commit() -> None:
    """A blob store that writes a second late, as if nobody had waited for the fsync."""
    from worker.artifacts.blobs.filesystem import FilesystemBlobStore

    held: dict[str, bytes] = {}
    batch, remains = FilesystemBlobStore.batch, FilesystemBlobStore.remains

    class LateBatch:
        def __init__(self, store: FilesystemBlobStore):
            self._store = store

        def put(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
            held[sha256] = b"".join(chunks)
            writer = threading.Timer(1.0, self._put, (sha256, size))
            writer.daemon = True
            writer.start()

        def contains(self, sha256: str, size: int) -> bool:
            with batch(self._store) as found:
                return sha256 in held or found.contains(sha256, size)

        def _put(self, sha256: str, size: int) -> None:
            with batch(self._store) as late:
                late.put(sha256, size, [held.pop(sha256)])

    def late_batch(self: FilesystemBlobStore) -> Any:
        return nullcontext(LateBatch(self))

    def remains_or_is_held(self: FilesystemBlobStore, sha256: str, size: int) -> bool:
        return sha256 in held or remains(self, sha256, size)

    FilesystemBlobStore.batch = late_batch  # type: ignore[method-assign]
    FilesystemBlobStore.remains = remains_or_is_held  # type: ignore[method-assign]


def _early_ack() -> None:
    from worker import tasks

    tasks.app.conf.task_acks_late = False
    for task in (tasks.write, tasks.read):
        task.acks_late = False


_IN_WORKER: dict[str, Callable[[], None]] = {
    "ledger": _no_ledger,
    "row-lock": _no_row_lock,
    "fsync-order": _bytes_after_commit,
    "late-ack": _early_ack,
}
_IN_CLIENT: dict[str, Callable[[], None]] = {
    "resend": _no_resend,
    "stop-and-wait": _no_stop_and_wait,
}
