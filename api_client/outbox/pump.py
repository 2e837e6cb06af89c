"""What moves everything: intake, journal, packing, sending, confirming.

Each turn takes what has happened since the last one, changes the pure schedule, makes the change
durable in one journal transaction, and only then tells callers and the sender. A message is
recorded before it is sent, because a resend must carry the same operations under the same id.

Nothing here waits, and nothing starts a thread: a loop turns the pump (`loop.py`).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from api_client.contract.errors import StorageError, Unavailable, from_record
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from api_client.outbox.backlog import Backlog
from api_client.outbox.departures import Departures
from api_client.outbox.discards import Discards
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import Home
from api_client.outbox.inquiries import Inquiry
from api_client.outbox.intake import Intake
from api_client.outbox.journal import StoredOperation
from api_client.outbox.options import OutboxOptions
from api_client.outbox.queries import Queries
from api_client.outbox.recorder import Recorded, Recorder
from api_client.outbox.runtime import Event, Runtime
from api_client.outbox.schedule import Schedule
from api_client.outbox.sender import Sender
from api_client.outbox.usage import Usage
from api_client.outbox.writes import PendingWrites, PickWrites, Wait
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile, Transport

log = logging.getLogger(__name__)

#: Makes the body of the entry in the given row, and the file that the body refers to.
Prepare = Callable[[int], tuple[bytes, BlobFile]]
#: Seconds after the last confirmation until disk is given back.
_IDLE = 1.0


class Pump:
    """Owns the schedule. `turn` is called by one thread; what is to happen reaches it through
    ``runtime.post``, which the other public methods do.

    Parameters:
        homes: where operations are kept; new ones in the last.
        transport: who carries them.
        usage: told when operations leave.
        options: how to pack and resend.
        runtime: its surroundings.
    """

    def __init__(
        self,
        homes: Sequence[Home],
        transport: Transport,
        usage: Usage,
        options: OutboxOptions,
        runtime: Runtime,
    ):
        self._homes = homes
        self._home = homes[-1]
        self._transport = transport
        self._usage = usage
        self._runtime = runtime
        self._schedule = Schedule(options.schedule, runtime.new_id)
        self._backlog = Backlog(homes, self._unreadable)
        self._intake = Intake(
            self._schedule, self._backlog, options, bounded=self._home.journal.durable
        )
        self._writes = PendingWrites(self._schedule, self._backlog)
        self._recorder = Recorder()
        self._sender = Sender(transport, runtime, self._sent, self._not_sent)
        self._departures = Departures(
            self._schedule, self._recorder, self._sender, runtime, self._refuse
        )
        self._queries = Queries(transport, self._sender, runtime, self._writes)
        self._discards = Discards(transport, runtime)
        #: Operations that came in during this turn.
        self._placed = 0
        #: When to look whether the journals can give disk back.
        self._tidy_at: float | None = None
        #: Operations that have got their outcome, and how many of those failed.
        self.decided = 0
        self.failed = 0
        #: Whether `stop` has been worked off; there is nothing to turn after that.
        self.stopped = False

    def start(self, restored: Iterable[Dispatch]) -> None:
        """Begin with messages that a former client has left. Called before any turn."""
        self._intake.restore(restored, self._runtime.clock())
        self._transport.start(self._on_write_reply, self._on_query_reply)

    def turn(self, events: Iterable[Event]) -> float | None:
        """Work off what has happened, without waiting for anything.

        Returns when to be called again if nothing happens before, on the runtime's clock; None
        if there is no need to.
        """
        for event in events:
            event()
        self._usage.taken(self._placed)
        self._placed = 0
        if self.stopped:
            return None
        now = self._runtime.clock()
        if now >= self._recorder.resumes_at:
            self._departures.pack()
            self._commit(now)
        refilled = self._refill(now)
        self._departures.send_due(now)
        self._queries.turn(now)
        self._discards.turn(now)
        self._tidy(now)
        return now if refilled else self._next_due(now)

    def submit(self, entry: Entry, prepare: Prepare | None = None) -> None:
        """Take an entry; with ``prepare``, run that first, elsewhere, to make its body."""
        if prepare is None:
            self._runtime.post(partial(self._added, entry))
        else:
            self._runtime.post(partial(self._place, entry))
            self._runtime.stager.submit(partial(self._prepare, entry, prepare))

    def ask(self, inquiry: Inquiry, after: PickWrites) -> None:
        """Send a query once the writes before it that ``after`` picks are confirmed."""
        self._runtime.post(partial(self._queries.add, inquiry, after))

    def when_confirmed(self, then: Callable[[], None]) -> Event:
        """Call ``then`` once all writes taken so far are confirmed.

        Returns what to call, in any thread, when that is no longer of interest.
        """
        waits: list[Wait] = []
        self._runtime.post(lambda: waits.append(self._writes.wait(dict, then)))
        return partial(self._runtime.post, lambda: self._writes.drop(waits.pop()))

    def on_way(self) -> list[str]:
        """The ids of the messages on their way. Any thread may ask."""
        return [dispatch.id for dispatch in self._schedule.on_way()]

    def stop(self) -> None:
        """Record what there is, fail what is still open, and end."""
        self._runtime.post(self._stop)

    def abort(self, events: Iterable[Event], error: Exception) -> None:
        """Fail everything after an unexpected error in a turn, what ``events`` bring included."""
        for event in events:
            with suppress(Exception):
                event()
        self._usage.end()
        failure = Unavailable(f"the outbox has stopped: {error!r}")
        for receipt in self._receipts():
            receipt.fail(failure)
        self._queries.fail(failure)

    # A turn

    def _next_due(self, now: float) -> float | None:
        parts = (self._schedule, self._queries, self._discards, self._recorder)
        times = [*(part.next_due() for part in parts), self._tidy_at]
        if self._recorder.resumes_at > now:
            times.append(self._recorder.resumes_at)
        return min((time for time in times if time is not None), default=None)

    def _commit(self, now: float, *, at_once: bool = False) -> None:
        for recorded in self._recorder.commit(now, at_once=at_once):
            if recorded.error is None:
                self._committed(recorded)
            else:
                self._undo(recorded, recorded.error)

    def _tidy(self, now: float) -> None:
        if self._tidy_at is None or now < self._tidy_at:
            return
        self._tidy_at = None
        for home in self._homes:
            try:
                if home.journal.tidy():
                    self._tidy_at = now
            except sqlite3.Error as error:
                self._recorder.failed(home, error, now)

    def _committed(self, recorded: Recorded) -> None:
        home, changes = recorded.home, recorded.changes
        if changes.confirmed:
            self._tidy_at = self._runtime.clock() + _IDLE
        if home.journal.durable:
            for entry in changes.added:
                if entry.receipt is not None:
                    entry.receipt.accept()
        self._intake.recorded(changes.added)
        home.open += len(changes.added) - len(changes.dropped)
        for dispatch in changes.confirmed:
            home.open -= len(dispatch.entries)
            # Only now: a message that is still recorded may be sent again.
            home.spool.remove(dispatch.blobs)
        for dispatch in changes.packed:
            self._sender.send(dispatch)

    def _undo(self, recorded: Recorded, error: Exception) -> None:
        """Nothing was recorded: refuse what is new, keep the rest for another try."""
        name, changes = recorded.home.journal.name, recorded.changes
        self._schedule.unpack(changes.packed)
        refusal = Unavailable(
            f"the outbox {name} cannot be written: {error}; is its disk full?", field="outbox"
        )
        self._refuse(changes.added, refusal)
        self._recorder.changes.confirmed += changes.confirmed
        self._recorder.changes.dropped += changes.dropped

    def _refill(self, now: float) -> bool:
        """Take some of the backlog if not much waits in memory; whether there was any."""
        # What is not recorded yet cannot be read, and must not be passed over.
        if self._recorder.changes.added or now < self._recorder.resumes_at:
            return False
        try:
            return self._intake.refill()
        except sqlite3.Error as error:
            self._recorder.failed(self._backlog.home, error, now)
            return False

    # What happens

    def _place(self, entry: Entry) -> None:
        self._placed += 1
        self._intake.place(entry)

    def _added(self, entry: Entry) -> None:
        self._place(entry)
        self._recorder.changes.added.append(entry)

    def _prepare(self, entry: Entry, prepare: Prepare) -> None:
        try:
            body, blob = prepare(entry.row)
        except Exception as error:
            self._not_prepared(entry, error)
        else:
            self._home.spool.settle(blob, partial(self._settled, entry, body, blob))

    def _settled(self, entry: Entry, body: bytes, blob: BlobFile, error: OSError | None) -> None:
        if error is None:
            self._runtime.post(partial(self._prepared, entry, body, blob))
            self._transport.stage_early(blob)
        else:
            self._not_prepared(entry, error)

    def _not_prepared(self, entry: Entry, error: Exception) -> None:
        refusal = error
        if not isinstance(error, StorageError):
            refusal = Unavailable(f"the artifact could not be read or kept: {error}")
        self._runtime.post(partial(self._refuse, [entry], refusal))

    def _prepared(self, entry: Entry, body: bytes, blob: BlobFile) -> None:
        entry.body, entry.spooled = body, blob
        self._usage.count(0, entry.size)
        self._intake.prepared(entry)
        self._recorder.changes.added.append(entry)

    def _refuse(self, entries: list[Entry], error: Exception) -> None:
        """Drop entries that wait."""
        self._intake.withdraw(entries)
        self._left(entries)
        self._writes.settled({key for entry in entries for key in entry.keys})
        for entry in entries:
            if entry.spooled is not None:
                self._home.spool.remove([entry.spooled])
            if entry.receipt is not None:
                entry.receipt.fail(error)

    def _unreadable(self, stored: StoredOperation) -> None:
        self._usage.release(1, len(stored.body))

    def _on_write_reply(self, message_id: str, reply: WriteReply) -> None:
        self._runtime.post(partial(self._replied, message_id, reply))

    def _on_query_reply(self, query_id: str, reply: QueryReply) -> None:
        self._runtime.post(partial(self._queries.answered, query_id, reply))

    def _replied(self, message_id: str, reply: WriteReply) -> None:
        now = self._runtime.clock()
        if reply.missing:
            self._schedule.missed(message_id, now)
            return
        expected = self._schedule.size_of(message_id)
        if not expected:
            # It was confirmed before: this is the reply to a copy.
            self._transport.forget(message_id)
            return
        outcomes = reply.outcomes
        if reply.error is not None:
            outcomes = [Outcome(error=reply.error)] * expected
        if len(outcomes) != expected:
            log.error("%d outcomes came for %d operations", len(outcomes), expected)
            return
        dispatch = self._schedule.confirm(message_id, now)
        if dispatch is None:
            return
        self._transport.forget(message_id)
        for position, outcome in enumerate(outcomes):
            entry = dispatch.entries[position]
            if outcome.error is not None:
                self.failed += 1
                _fail(
                    entry, from_record(outcome.error), self._discards.watch(dispatch.id, position)
                )
            elif entry.receipt is not None:
                entry.receipt.finish(outcome.ok)
            # The entry stays until that is recorded.
            entry.receipt = None
        self.decided += expected
        self._recorder.changes.confirmed.append(dispatch)
        self._left(dispatch.entries)
        self._writes.settled(dispatch.keys)

    def _left(self, entries: list[Entry]) -> None:
        self._usage.release(len(entries), sum(entry.size for entry in entries))

    def _sent(self, dispatch: Dispatch) -> None:
        self._schedule.sent(dispatch.id, self._runtime.clock())
        if self._transport.durable:
            for entry in dispatch.entries:
                if entry.receipt is not None:
                    entry.receipt.accept()

    def _not_sent(self, dispatch: Dispatch, error: Exception) -> None:
        level = (
            logging.INFO if dispatch.attempts or isinstance(error, StorageError) else logging.ERROR
        )
        # Only its text: who keeps what is logged would keep the frames of its traceback, too, and
        # by them the whole outbox.
        log.log(level, "a message could not be sent and will be sent again: %s", str(error))
        self._schedule.failed(dispatch.id, self._runtime.clock())

    # The end

    def _stop(self) -> None:
        self.stopped = True
        self._discards.close()
        self._commit(self._runtime.clock(), at_once=True)
        for receipt in self._receipts():
            receipt.fail(Unavailable(f"the client was closed; {self._future(receipt)}"))
        self._queries.fail(Unavailable("the client was closed before the reply came"))

    def _receipts(self) -> list[Receipt[Any]]:
        """Those of all operations that have no outcome."""
        changes = self._recorder.changes.added
        entries = [*self._schedule.entries(), *(entry for entry in changes if not entry.id)]
        found = (entry.receipt for entry in entries)
        return [*self._backlog.receipts(), *(receipt for receipt in found if receipt is not None)]

    def _future(self, receipt: Receipt[Any]) -> str:
        """What becomes of an operation that has no outcome when the client closes."""
        if not receipt.accepted.done():
            return "the operation was not accepted, and is gone"
        if self._home.journal.durable:
            return "the operation stays in the outbox and goes on when that is opened again"
        return (
            "the broker has taken the operation, and it will be applied unless the broker loses it;"
            " client.status tells"
        )


def _fail(entry: Entry, error: StorageError, when_seen: Callable[[], None]) -> None:
    if entry.receipt is None:
        log.warning("operation %d failed, and nobody holds its receipt: %s", entry.row, error)
    else:
        # It was kept and decided, so it had been accepted.
        entry.receipt.accept()
        entry.receipt.fail(error, when_seen)
