"""Issues the workload through the product's client, and writes down what it is told."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from typing import Any

from api_client import ArtifactKey, Event, SessionKey, StorageClient, StorageError
from api_client.receipts import Receipt
from tests.faults.history import HistoryWriter, Line
from tests.faults.operations import Operation, value_of
from tests.faults.workload import Workload, bytes_of

#: Operations without an outcome at which a client stops issuing.
_MOST_PENDING = 5000
#: Seconds between two batches.
_TICK = 0.05
#: Operations of one batch at most, after a time in which nothing could be issued.
_MOST_AT_ONCE = 200
#: Seconds until the creations that begin a life are asked for again.
_ACCEPT_SECONDS = 30.0
#: Batches between two loads.
_LOAD_EVERY = 40


class Customer:
    """Issues the workload and writes down what it is told.

    Parameters:
        client: the product's client.
        workload: what to issue.
        history: where to write.
    """

    def __init__(self, client: StorageClient, workload: Workload, history: HistoryWriter):
        self._client = client
        self._workload = workload
        self._history = history
        self._revisions: dict[SessionKey, int] = {}

    def run(self, rate: float, stopped: Callable[[], bool]) -> None:
        """Issue about ``rate`` operations a second until told to stop."""
        self._create_sessions(stopped)
        begun, issued, ticks = time.monotonic(), 0.0, 0
        while not stopped():
            # The pace of the workload; nothing is waited for.
            time.sleep(_TICK)
            due = (time.monotonic() - begun) * rate - issued
            issued += due
            room = max(0, _MOST_PENDING - self._client.pending)
            count = int(min(due + 0.5, room, _MOST_AT_ONCE))
            self._issue([self._workload.next() for _ in range(count)])
            ticks += 1
            if ticks % _LOAD_EVERY == 0:
                self._load()

    def _create_sessions(self, stopped: Callable[[], bool]) -> None:
        """All else builds on these, so they are issued until they have been accepted."""
        wanted = self._workload.creations()
        while wanted and not stopped():
            receipts = self._issue(wanted)
            accepted = [receipt.accepted for receipt in receipts if receipt is not None]
            concurrent.futures.wait(accepted, _ACCEPT_SECONDS)
            if len(accepted) == len(wanted) and all(_succeeded(future) for future in accepted):
                return
            wanted = self._workload.creations()

    def _issue(self, operations: list[Operation]) -> list[Receipt[Any] | None]:
        self._history.now(
            Line(what="invoke", id=operation.id, operation=operation) for operation in operations
        )
        return [self._submit(operation) for operation in operations]

    def _submit(self, operation: Operation) -> Receipt[Any] | None:
        try:
            receipt = self._call(operation)
        except StorageError as error:
            self._refused(operation, error)
            return None
        receipt.accepted.add_done_callback(lambda done: self._accepted(operation, done))
        if operation.watched:
            receipt.add_done_callback(lambda done: self._done(operation, done))
        return receipt

    def _call(self, operation: Operation) -> Receipt[Any]:
        key = SessionKey(*operation.key)
        sessions, artifacts = self._client.sessions, self._client.artifacts
        if operation.kind == "append":
            events = [self._event(operation, index) for index in range(len(operation.changes))]
            return sessions.append(key, events, expected_revision=operation.expected_revision)
        if operation.kind == "delete":
            return sessions.delete(key)
        if operation.kind in ("save", "remove"):
            name = ArtifactKey(*operation.key, operation.name)
            if operation.kind == "remove":
                return artifacts.delete(name)
            data = bytes_of(operation.id, operation.size)
            return artifacts.save(name, data, metadata={"operation": operation.id})
        change = operation.changes[0] if operation.changes else None
        values = {name: value_of(operation.id, 0) for name in (change.sets if change else ())}
        if operation.kind == "create":
            return sessions.create(key, state=values)
        return sessions.update_state(key, values, delete=change.deletes if change else ())

    def _event(self, operation: Operation, index: int) -> Event:
        change = operation.changes[index]
        id_ = value_of(operation.id, index)
        content = {"of": len(operation.changes), "text": self._workload.content()}
        return Event(
            author=operation.client,
            id=id_,
            content=content,
            state_delta=dict.fromkeys(change.sets, id_),
            state_delete=change.deletes,
        )

    def _accepted(self, operation: Operation, done: concurrent.futures.Future[None]) -> None:
        error = done.exception()
        if error is None:
            self._history.soon(Line(what="accepted", id=operation.id))
        else:
            self._refused(operation, error)

    def _refused(self, operation: Operation, error: BaseException) -> None:
        self._history.soon(Line(what="refused", id=operation.id, code=str(error)))
        if operation.key == self._workload.counted:
            self._workload.counted_was_told(None)

    def _done(self, operation: Operation, done: concurrent.futures.Future[Any]) -> None:
        if operation.allowed != ["ok"]:
            # Before the error is looked at: the product may then forget it.
            self._history.now([Line(what="told", id=operation.id)])
        error = done.exception()
        if error is not None:
            self._failed(operation, error)
            return
        outcome = done.result()
        number = outcome if isinstance(outcome, int) else getattr(outcome, "revision", None)
        self._history.soon(Line(what="applied", id=operation.id, number=number))
        if number is not None and operation.kind in ("append", "update"):
            self._revisions[SessionKey(*operation.key)] = number
        if operation.key == self._workload.counted and operation.kind == "append":
            self._workload.counted_was_told(number)

    def _failed(self, operation: Operation, error: BaseException) -> None:
        code = getattr(error, "code", type(error).__name__)
        if code == "unavailable":
            # Not an outcome: the client was closed, or could not keep the operation.
            return
        self._history.soon(Line(what="failed", id=operation.id, code=code))
        if operation.key == self._workload.counted and operation.kind == "append":
            self._workload.counted_was_told(None)

    def _load(self) -> None:
        """A load waits for the client's own writes, so it never shows less than was told."""
        if not self._revisions:
            return
        key, least = next(reversed(self._revisions.items()))
        if key.session.startswith("short-"):
            return

        def check(done: concurrent.futures.Future[Any]) -> None:
            error = done.exception()
            code = getattr(error, "code", "")
            if error is None and done.result().revision < least:
                self._bad(f"{key.session} was at {least}, then at {done.result().revision}")
            elif error is not None and code != "unavailable":
                self._bad(f"a load of {key.session} failed: {code} {error}")

        with contextlib.suppress(StorageError):
            self._client.sessions.load(key, last=3).add_done_callback(check)

    def _bad(self, what: str) -> None:
        self._history.soon(Line(what="bad", id=self._workload.client, code=what))


def _succeeded(future: concurrent.futures.Future[Any]) -> bool:
    return future.done() and future.exception() is None
