"""What a process that applies messages counts. docs/metrics.md lists it."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from celery import Task
from celery.signals import task_postrun, task_prerun
from prometheus_client import Counter, Histogram

from api_client.contract import codec
from api_client.contract.errors import ErrorRecord, InvalidRequest, Unavailable
from worker.dead_letters import Failure
from worker.ledger import Entry
from worker.watch import Watch
from worker.work import Work

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


class Counts(Watch):
    """Counts what it is told, for Prometheus. One for each process."""

    def __init__(self) -> None:
        self._messages = _counter("messages", "Messages, by what became of them.", "outcome")
        self._operations = _counter(
            "operations", "Write operations, by what became of them.", "outcome", "code"
        )
        self._queries = _counter("queries", "Queries answered.", "outcome", "code")
        self._dead = _counter("dead_letters_written", "Dead letters written.", "code")
        self._retries = _counter("retries", "New tries after passing trouble.")
        self._again = _counter(
            "deliveries_again", "Messages that may have been delivered before.", "reason"
        )
        self._tasks = _counter("tasks", "Celery tasks that have ended.", "task", "state")
        self._blob_bytes = _counter("blob_bytes", "Bytes into and out of the blob store.", "way")
        self._sizes = _histogram("message_operations", "Operations in a new message.", _SIZES)
        self._together = _histogram(
            "transaction_messages", "Messages applied in one transaction.", _SIZES
        )
        self._apply = _histogram(
            "apply_seconds", "From a delivery to its replies, new tries included.", _SECONDS
        )
        self._commit = _histogram("commit_seconds", "COMMIT alone.", _SECONDS)
        self._task_seconds = _histogram("task_seconds", "A Celery task.", _SECONDS, "task")
        self._begin_at_zero()

    def applied(self, seconds: float) -> None:
        """See `Watch.applied`."""
        self._apply.observe(seconds)

    def committed(
        self,
        works: Sequence[Work],
        entries: Mapping[str, Entry],
        failures: Sequence[Failure],
        seconds: float,
    ) -> None:
        """See `Watch.committed`."""
        if not works:
            return
        new = [work for work in works if not entries[work.message.id].known]
        operations = 0
        for work in new:
            operations += len(work.message.operations)
            self._sizes.observe(len(work.message.operations))
        self._together.observe(len(works))
        self._commit.observe(seconds)
        self._messages.labels("applied").inc(len(new))
        self._operations.labels("applied", "").inc(operations - len(failures))
        self._failed(collections.Counter(failure.error.code for failure in failures))
        self.known([work for work in works if entries[work.message.id].known])

    def known(self, works: Sequence[Work]) -> None:
        """See `Watch.known`."""
        if works:
            self._messages.labels("duplicate").inc(len(works))
            operations = sum(len(work.message.operations) for work in works)
            self._operations.labels("duplicate", "").inc(operations)

    def missing(self, messages: int) -> None:
        """See `Watch.missing`."""
        self._messages.labels("missing").inc(messages)

    def gave_up(self, operations: int) -> None:
        """See `Watch.gave_up`."""
        self._messages.labels("given_up").inc()
        self._failed({Unavailable.code: operations})

    def refused(self) -> None:
        """See `Watch.refused`."""
        self._messages.labels("refused").inc()
        self._dead.labels(InvalidRequest.code).inc()

    def answered(self, error: ErrorRecord | None) -> None:
        """See `Watch.answered`."""
        labels = ("answered", "") if error is None else ("failed", error.code)
        self._queries.labels(*labels).inc()

    def tries_again(self) -> None:
        """See `Watch.tries_again`."""
        self._retries.inc()

    def wrote(self, size: int) -> None:
        """So many bytes went into the blob store."""
        self._blob_bytes.labels("written").inc(size)

    def read(self, size: int) -> None:
        """So many bytes came out of it."""
        self._blob_bytes.labels("read").inc(size)

    def delivered(self, request: Any) -> None:
        """A task begins, for this Celery request."""
        if (request.delivery_info or {}).get("redelivered") or request.get("redelivered"):
            self._again.labels("redelivered").inc()
        elif (request.get(codec.TRY_HEADER) or 1) > 1:
            self._again.labels("resent").inc()

    def ended(self, task: str, state: str, seconds: float) -> None:
        """A task has ended: SUCCESS, FAILURE, or REJECTED if its message is handed back."""
        self._tasks.labels(task, state).inc()
        self._task_seconds.labels(task).observe(seconds)

    def _failed(self, codes: Mapping[str, int]) -> None:
        for code, operations in codes.items():
            self._operations.labels("failed", code).inc(operations)
            self._dead.labels(code).inc(operations)

    def _begin_at_zero(self) -> None:
        # A series that appears with its first count has no rate before the second.
        for outcome in ("applied", "duplicate", "missing", "given_up", "refused"):
            self._messages.labels(outcome)
        for outcome in ("applied", "duplicate"):
            self._operations.labels(outcome, "")
        self._queries.labels("answered", "")
        for reason in ("redelivered", "resent"):
            self._again.labels(reason)
        for way in ("written", "read"):
            self._blob_bytes.labels(way)


@cache
def counts() -> Counts:
    """Those of this process. A pool process makes its own, because its worker's main process,
    which applies nothing, has none."""
    return Counts()


def count_tasks() -> None:
    """Have the tasks of this process, and of those that it forks, counted."""
    task_prerun.connect(_before_task)
    task_postrun.connect(_after_task)


_begun: dict[str, float] = {}


def _before_task(task_id: str, task: Task[Any, Any], **_: object) -> None:
    _begun[task_id] = time.perf_counter()
    counts().delivered(task.request)


def _after_task(task_id: str, task: Task[Any, Any], state: str | None = None, **_: object) -> None:
    begun = _begun.pop(task_id, None)
    if begun is not None:
        counts().ended(task.name, state or "", time.perf_counter() - begun)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    # In no registry: what the files hold is asked for, and not this process.
    return Counter(f"zdk_{name}", meaning, labels, registry=None)


def _histogram(name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
    return Histogram(f"zdk_{name}", meaning, labels, buckets=buckets, registry=None)
