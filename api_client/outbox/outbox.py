"""The outbox as the client sees it: submit, ask, flush, close."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from api_client.contract.errors import Unavailable
from api_client.contract.ordering import OrderingKey
from api_client.contract.records import new_id
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import FoundHome
from api_client.outbox.inquiries import Inquiry
from api_client.outbox.pump import PickKeys, Pump
from api_client.outbox.restore import restore
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
        homes: where operations are kept, each with what a former client left there; new ones go
            into the last.
        transport: who carries them.
        options: its limits.
    """

    def __init__(
        self,
        homes: Sequence[FoundHome],
        transport: Transport,
        options: OutboxOptions,
    ):
        self._homes = [home for home, _ in homes]
        self._home, stored = homes[-1]
        self._transport = transport
        self._usage = Usage(options.max_operations, options.max_bytes)
        self._pump = Pump(self._home, transport, self._usage, options.schedule)
        self._intake = threading.Lock()
        self._closed = False
        self._ids = count(1)
        self._rows = count(stored[-1].id + 1 if stored else 1)
        dispatches: list[Dispatch] = []
        waiting: list[Entry] = []
        for home, found in homes:
            restored = restore(home, found)
            dispatches += restored.dispatches
            waiting += restored.waiting
            self._usage.count(restored.operations, restored.bytes)
        # What is on its way comes before what waits, whichever file it is from.
        for entry in [*(e for d in dispatches for e in d.entries), *waiting]:
            entry.id = next(self._ids)
        self._pump.start(dispatches, waiting)

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
            self._pump.submit(self._entry(keys, body, receipt, finish))

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
            entry = self._entry(keys, b"", receipt, finish)
            self._pump.submit(entry, lambda row: prepare(row, self._home.spool))

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
        for home in self._homes:
            home.close()
        return left

    def _entry(
        self,
        keys: frozenset[OrderingKey],
        body: bytes,
        receipt: Receipt[Any],
        finish: Callable[[msgspec.Raw], Any],
    ) -> Entry:
        entry_id, row = next(self._ids), next(self._rows)
        return Entry(entry_id, keys, body, receipt, finish, home=self._home, row=row)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable("the client is closed")
        if not self._pump.running:
            raise Unavailable("the outbox has stopped after an error, which is in the log")
