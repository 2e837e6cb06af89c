"""The outbox as the client sees it: submit, ask, flush, close."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, groupby
from typing import Any

import msgspec

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.events import decode_event
from api_client.contract.operations import AppendEvents, SaveArtifact, WriteOperation
from api_client.contract.ordering import OrderingKey, ordering_keys
from api_client.contract.records import new_id
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.inquiries import Inquiry
from api_client.outbox.journal import Journal, StoredOperation
from api_client.outbox.pump import PickKeys, Pump
from api_client.outbox.schedule import ScheduleOptions
from api_client.outbox.spool import Spool
from api_client.outbox.usage import Usage
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile, Transport

#: Seconds to wait for threads that have been told to end.
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class OutboxOptions:
    """Limits of an outbox.

    Attributes:
        max_operations, max_bytes: what it may hold; artifact bytes beside it do not count.
        schedule: how messages are packed and resent.
    """

    max_operations: int = 100_000
    max_bytes: int = 256 * 1024 * 1024
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)


class Outbox:
    """Takes operations in order, keeps them until confirmed, resolves their receipts.

    Parameters:
        journal, spool, transport: where operations are kept, where bytes wait, who carries them.
        options: its limits.
    """

    def __init__(
        self, journal: Journal, spool: Spool, transport: Transport, options: OutboxOptions
    ):
        self._journal = journal
        self._spool = spool
        self._transport = transport
        self._usage = Usage(options.max_operations, options.max_bytes)
        self._pump = Pump(journal, spool, transport, self._usage, options.schedule)
        self._intake = threading.Lock()
        self._closed = False
        stored = journal.load()
        self._ids = count(stored[-1].id + 1 if stored else 1)
        self._restore(stored)

    @property
    def pending(self) -> int:
        """Operations without an outcome."""
        return self._usage.operations

    def submit(
        self,
        body: bytes,
        keys: frozenset[OrderingKey],
        receipt: Receipt[Any],
        finish: Callable[[msgspec.Raw], Any],
        block: float,
    ) -> None:
        """Take one operation.

        Parameters:
            body: the operation as JSON.
            keys: its ordering keys.
            receipt: to be resolved.
            finish: makes the receipt's result of the outcome's JSON.
            block: seconds to wait for room.

        Raises:
            OutboxFull: there is no room.
            Unavailable: the client is closed.
        """
        self._usage.reserve(len(body), block)
        with self._intake, self._usage.returned_on_error(len(body)):
            self._refuse_if_closed()
            self._pump.submit(Entry(next(self._ids), keys, body, receipt, finish))

    def submit_spooled(
        self,
        prepare: Callable[[int, Spool], tuple[bytes, BlobFile]],
        keys: frozenset[OrderingKey],
        receipt: Receipt[Any],
        finish: Callable[[msgspec.Raw], Any],
        block: float,
    ) -> None:
        """Take an operation whose body ``prepare`` will make in another thread.

        ``prepare`` is given the operation's place in the outbox and the spool, and returns the
        body and the file it refers to. The operation holds its place in the order meanwhile.
        Raises as `submit` does.
        """
        self._usage.reserve(0, block)
        with self._intake, self._usage.returned_on_error(0):
            self._refuse_if_closed()
            entry = Entry(next(self._ids), keys, b"", receipt, finish)
            self._pump.submit(entry, lambda entry_id: prepare(entry_id, self._spool))

    def ask(
        self,
        body: bytes,
        after: PickKeys,
        receipt: Receipt[Any],
        finish: Callable[[msgspec.Raw], Any],
        timeout: float,
    ) -> None:
        """Send a query once the writes before it are confirmed.

        Parameters:
            body: the query as JSON.
            after: picks the ordering keys whose writes it must wait for.
            timeout: seconds after which the receipt fails with `Unavailable`.

        Raises:
            Unavailable: the client is closed.
        """
        with self._intake:
            self._refuse_if_closed()
            inquiry = Inquiry(new_id(), body, receipt, finish, time.monotonic() + timeout)
            self._pump.ask(inquiry, after)
        receipt.accept()

    def flush(self, timeout: float) -> int:
        """Wait until all operations taken so far have their outcome, at most ``timeout`` seconds.

        Returns the number of operations that still have none; 0 if all have.
        """
        if not self._pump.running:
            return self.pending
        confirmed = threading.Event()
        self._pump.when_confirmed(confirmed.set)
        return 0 if confirmed.wait(timeout) else self.pending

    def close(self, timeout: float) -> int:
        """Flush, then end. Returns the number of operations without an outcome."""
        with self._intake:
            if self._closed:
                return self.pending
            self._closed = True
        left = self.flush(timeout)
        self._pump.stop(_STOP_SECONDS)
        self._transport.close()
        self._journal.close()
        self._spool.close()
        return left

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable("the client is closed")
        if not self._pump.running:
            raise Unavailable("the outbox has stopped after an error, which is in the log")

    def _restore(self, stored: Any) -> None:
        """Go on where a former client has stopped."""
        entries = {operation.id: self._entry(operation) for operation in stored}
        self._spool.keep_only(set(entries))
        self._usage.count(len(entries), sum(entry.size for entry in entries.values()))
        packed = [operation for operation in stored if operation.message_id is not None]
        packed.sort(key=lambda operation: (operation.message_id, operation.id))
        dispatches = [
            Dispatch(message_id, [entries.pop(operation.id) for operation in group])
            for message_id, group in groupby(packed, key=lambda operation: operation.message_id)
        ]
        self._pump.start(dispatches, list(entries.values()))

    def _entry(self, stored: StoredOperation) -> Entry:
        operation = codec.decode_operation(stored.body)
        entry = Entry(stored.id, _ordering_keys(operation), stored.body)
        if isinstance(operation, SaveArtifact) and operation.blob is not None:
            entry.spooled = self._spool.find(stored.id, operation.blob)
        return entry


def _ordering_keys(operation: WriteOperation) -> frozenset[OrderingKey]:
    state_keys: list[str] = []
    if isinstance(operation, AppendEvents):
        for raw in operation.events:
            envelope = decode_event(raw)
            state_keys += [*envelope.state_delta, *envelope.state_delete]
    return ordering_keys(operation, state_keys)
