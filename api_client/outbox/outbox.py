"""The outbox as the client sees it: submit, ask, flush, close."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from api_client.contract.errors import Unavailable
from api_client.contract.ordering import OrderingKey
from api_client.contract.records import new_id
from api_client.outbox.age import created_at
from api_client.outbox.callbacks import Callbacks
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import Home
from api_client.outbox.inquiries import Inquiry
from api_client.outbox.loop import Loop, ThreadLoop
from api_client.outbox.options import OutboxOptions
from api_client.outbox.pump import Pump
from api_client.outbox.restore import restore
from api_client.outbox.spool import Spool
from api_client.outbox.usage import Usage
from api_client.outbox.writes import PickWrites
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile, Transport

#: Seconds to wait for threads that have been told to end.
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class OutboxUsage:
    """How full an outbox is.

    Attributes:
        operations, bytes: without an outcome.
        max_operations, max_bytes: beyond which nothing more is taken.
        oldest: when the oldest message on its way was made; None if none is. What is in no message
            yet waits for one that is.
    """

    operations: int
    bytes: int
    max_operations: int
    max_bytes: int
    oldest: datetime | None


@dataclass(frozen=True)
class Tally:
    """Attributes: operations that were applied, and that were recorded as failed."""

    applied: int
    failed: int


class Outbox:
    """Takes operations in order, keeps them until confirmed, resolves their receipts.

    Parameters:
        homes: where operations are kept, with what former clients left there; new ones go into
            the last.
        transport: who carries them.
        options: its limits.
        loop: turns it; a thread if None.

    Attributes:
        elsewhere: runs what callers have attached to receipts.
    """

    def __init__(
        self,
        homes: Sequence[Home],
        transport: Transport,
        options: OutboxOptions,
        loop: Loop | None = None,
    ):
        self._homes = homes
        self._home = homes[-1]
        self._transport = transport
        self._usage = Usage(*options.limits(durable=self._home.journal.durable))
        self._loop = ThreadLoop() if loop is None else loop
        self._pump = Pump(homes, transport, self._usage, options, self._loop.runtime)
        self._intake = threading.Lock()
        self._callbacks = Callbacks()
        self.elsewhere = self._callbacks.submit
        self._closed = False
        self._rows = count(self._home.journal.found.last + 1)
        # What is on its way comes before what waits, whichever file it is from.
        self._pump.start([dispatch for home in homes for dispatch in self._restore(home)])
        self._loop.start(self._pump)

    @property
    def pending(self) -> int:
        """Operations without an outcome."""
        return self._usage.operations

    @property
    def tally(self) -> Tally:
        """What has become of operations since the outbox was opened."""
        failed = self._pump.failed
        return Tally(self._pump.decided - failed, failed)

    @property
    def usage(self) -> OutboxUsage:
        """How full it is."""
        oldest = min(self._pump.on_way(), default=None)
        return OutboxUsage(
            self._usage.operations,
            self._usage.bytes,
            *self._usage.limits,
            None if oldest is None else created_at(oldest),
        )

    def submit(
        self,
        body: bytes,
        keys: frozenset[OrderingKey],
        receipt: Receipt[Any],
        block: float,
        trace: str | None = None,
    ) -> None:
        """Take one operation.

        Parameters:
            body: the operation as JSON.
            keys: its ordering keys.
            receipt: to be resolved.
            block: seconds to wait for room.
            trace: the trace that it belongs to, as a ``traceparent`` text.

        Raises:
            OutboxFull: there is no room.
            Unavailable: the client is closed.
        """
        self._usage.reserve(len(body), block)
        with self._intake:
            self._refuse_if_closed(len(body))
            self._pump.submit(self._entry(keys, body, receipt, trace))

    def submit_spooled(
        self,
        prepare: Callable[[int, Spool], tuple[bytes, BlobFile]],
        keys: frozenset[OrderingKey],
        receipt: Receipt[Any],
        block: float,
        trace: str | None = None,
    ) -> None:
        """Take an operation whose body ``prepare`` will make in another thread.

        ``prepare`` is given the operation's place in the outbox and the spool, and returns the
        body and the file it refers to. The operation holds its place in the order meanwhile.
        Raises as `submit` does.
        """
        self._usage.reserve(0, block)
        with self._intake:
            self._refuse_if_closed(0)
            entry = self._entry(keys, b"", receipt, trace)
            self._pump.submit(entry, lambda row: prepare(row, self._home.spool))

    def ask(
        self,
        body: bytes,
        after: PickWrites,
        receipt: Receipt[Any],
        timeout: float,
    ) -> None:
        """Send a query once the writes before it are confirmed.

        Parameters:
            body: the query as JSON.
            after: picks the writes that it must wait for.
            timeout: seconds after which the receipt fails with `Unavailable`.

        Raises:
            Unavailable: the client is closed.
        """
        with self._intake:
            self._refuse_if_closed()
            inquiry = Inquiry(new_id(), body, receipt, self._loop.runtime.clock() + timeout)
            self._pump.ask(inquiry, after)
        receipt.accept()

    def flush(self, timeout: float) -> int:
        """Wait until all operations taken so far have their outcome, at most ``timeout`` seconds.

        Returns the number of operations that still have none; 0 if all have.
        """
        if not self._loop.running:
            return self.pending
        confirmed = threading.Event()
        # More than that no lock can wait for.
        timeout = min(timeout, threading.TIMEOUT_MAX)
        give_up = self._pump.when_confirmed(confirmed.set)
        if confirmed.wait(timeout):
            return 0
        give_up()
        return self.pending

    def close(self, timeout: float) -> int:
        """Flush, then end. Returns the number of operations without an outcome."""
        with self._intake:
            if self._closed:
                return self.pending
            self._closed = True
        self._usage.end()
        left = self.flush(timeout)
        # In the reverse order, and each of them even if one before it fails.
        with ExitStack() as ending:
            ending.callback(self._callbacks.close, _STOP_SECONDS)
            for home in self._homes:
                ending.callback(home.close)
            ending.callback(self._transport.close)
            ending.callback(self._loop.stop, _STOP_SECONDS)
        return left

    def _restore(self, home: Home) -> list[Dispatch]:
        found, restored = home.journal.found, restore(home)
        self._usage.count(
            found.operations - restored.left_operations, found.bytes - restored.left_bytes
        )
        return restored.dispatches

    def _entry(
        self,
        keys: frozenset[OrderingKey],
        body: bytes,
        receipt: Receipt[Any],
        trace: str | None,
    ) -> Entry:
        row = next(self._rows)
        return Entry(0, keys, body, receipt, home=self._home, row=row, trace=trace)

    def _refuse_if_closed(self, reserved: int | None = None) -> None:
        """Raise `Unavailable` if nothing is taken any more.

        Parameters:
            reserved: bytes of the operation for which room was reserved, which is given back.
        """
        if not self._closed and self._loop.running:
            return
        if reserved is not None:
            self._usage.give_back(reserved)
        if self._closed:
            raise Unavailable("the client is closed")
        raise Unavailable("the outbox has stopped after an error, which is in the log")
