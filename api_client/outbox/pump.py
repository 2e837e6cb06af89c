"""The one thread that moves everything: intake, journal, packing, sending, confirming.

Each turn takes what has happened since the last one, changes the pure schedule, makes the change
durable in one journal transaction, and only then tells callers and the sender. A message is
recorded before it is sent, because a resend must carry the same operations under the same id.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from api_client.contract.errors import StorageError, Unavailable, from_record
from api_client.contract.ordering import OrderingKey
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from api_client.contract.records import new_id
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.fences import Fences
from api_client.outbox.homes import Home
from api_client.outbox.inquiries import Inquiries, Inquiry
from api_client.outbox.journal import Changes
from api_client.outbox.schedule import Schedule, ScheduleOptions
from api_client.outbox.usage import Usage
from api_client.threads import Workers
from api_client.transport.base import BlobFile, Transport

log = logging.getLogger(__name__)

#: Seconds to pause after the journal could not be written.
_JOURNAL_PAUSE = 1.0
#: Seconds without a reply after which a query is sent again.
_ASK_AGAIN = 5.0

#: Makes the body of the entry in the given row, and the file that the body refers to.
Prepare = Callable[[int], tuple[bytes, BlobFile]]
#: Picks ordering keys.
PickKeys = Callable[[OrderingKey], bool]


class Pump:
    """Owns the schedule; everything else reaches it through `post`.

    Parameters:
        home: where new operations are kept.
        transport: who carries them.
        usage: told when operations leave.
        options: how to pack and resend.
    """

    def __init__(
        self,
        home: Home,
        transport: Transport,
        usage: Usage,
        options: ScheduleOptions,
    ):
        self._home = home
        self._transport = transport
        self._usage = usage
        self._schedule = Schedule(options, new_id)
        self._fences = Fences()
        self._inquiries = Inquiries(_ASK_AGAIN)
        #: Everything that has no outcome yet, by id.
        self._open: dict[int, Entry] = {}
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._changes = Changes()
        self._resumes_at = 0.0
        self._stopping = False
        self._sender = Workers("zdk-sender", 1)
        self._stager = Workers("zdk-stager", 2)
        self._reader = Workers("zdk-reader", 2)
        self._thread = threading.Thread(target=self._run, name="zdk-outbox", daemon=True)

    @property
    def running(self) -> bool:
        """Whether the loop turns; it ends with `stop`, or after an error of ours."""
        return self._thread.is_alive()

    def start(self, restored: list[Dispatch], waiting: list[Entry]) -> None:
        """Begin with what a former client has left in the journal."""
        now = time.monotonic()
        for dispatch in restored:
            self._open.update((entry.id, entry) for entry in dispatch.entries)
            self._schedule.restore(dispatch, now)
        for entry in waiting:
            self._add(entry)
        self._transport.start(self._on_write_reply, self._on_query_reply)
        # The first turn packs what waits without anything having happened.
        self._events.put(lambda: None)
        self._thread.start()

    def submit(self, entry: Entry, prepare: Prepare | None = None) -> None:
        """Take an entry; with ``prepare``, run that first, in another thread, to make its body."""
        if prepare is None:
            self._events.put(partial(self._added, entry))
        else:
            self._events.put(partial(self._add, entry))
            self._stager.submit(partial(self._prepare, entry, prepare))

    def ask(self, inquiry: Inquiry, after: PickKeys) -> None:
        """Send a query once the writes before it, on the ordering keys that ``after`` picks, are
        confirmed."""
        self._events.put(partial(self._asked, inquiry, after))

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call ``then`` once all writes taken so far are confirmed."""
        self._events.put(lambda: self._fences.wait(dict(self._schedule.pending()), then))

    def stop(self, timeout: float) -> None:
        """End the threads, and fail what is still open."""
        self._events.put(self._stop)
        self._thread.join(timeout)
        self._sender.close(timeout)
        self._stager.close(timeout)
        self._reader.close(timeout)

    # The loop

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:
            log.exception("the outbox has stopped after an unexpected error")
            # What was submitted meanwhile fails like the rest.
            while not self._events.empty():
                with suppress(Exception):
                    self._events.get_nowait()()
            self._fail_open(Unavailable(f"the outbox has stopped: {error!r}"))
            raise

    def _turn(self) -> None:
        for event in self._wait():
            event()
        if self._stopping:
            return
        now = time.monotonic()
        if now >= self._resumes_at:
            self._changes.packed += self._schedule.pack()
            self._commit(now)
        for dispatch in self._schedule.due(now):
            self._send(dispatch)
        for inquiry in self._inquiries.due(now):
            self._sender.submit(partial(self._send_query, inquiry))
        for inquiry in self._inquiries.expired(now):
            self._give_up(inquiry)

    def _wait(self) -> list[Callable[[], None]]:
        """All events there are, after waiting for one, or until something is due."""
        times = [t for t in (self._schedule.next_due(), self._inquiries.next_due()) if t]
        if self._resumes_at > time.monotonic():
            times.append(self._resumes_at)
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        found = []
        try:
            found.append(self._events.get(timeout=timeout))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    def _commit(self, now: float) -> None:
        changes, self._changes = self._changes, Changes()
        touched = [*changes.added, *(d.entries[0] for d in changes.packed + changes.confirmed)]
        for home in dict.fromkeys(entry.home for entry in touched):
            assert isinstance(home, Home)
            part = changes.of(home)
            try:
                home.journal.commit(part)
            except Exception as error:
                self._undo(part, error)
                self._resumes_at = now + _JOURNAL_PAUSE
            else:
                self._committed(home, part)

    def _committed(self, home: Home, changes: Changes) -> None:
        if home.journal.durable:
            for entry in changes.added:
                if entry.receipt is not None:
                    entry.receipt.accept()
        home.open += len(changes.added)
        for dispatch in changes.confirmed:
            home.open -= len(dispatch.entries)
            # Only now: a message that is still recorded may be sent again.
            home.spool.remove(dispatch.blobs)
        for dispatch in changes.packed:
            self._send(dispatch)

    def _undo(self, changes: Changes, error: Exception) -> None:
        """Nothing was recorded: refuse what is new, keep the rest for another try."""
        log.error("the outbox cannot be written: %s", error)
        self._schedule.unpack(changes.packed)
        for entry in changes.added:
            self._refuse(entry, Unavailable(f"the outbox cannot be written: {error}"))
        self._changes.confirmed += changes.confirmed

    # What happens

    def _add(self, entry: Entry) -> None:
        self._open[entry.id] = entry
        self._schedule.add(entry)

    def _added(self, entry: Entry) -> None:
        self._add(entry)
        self._changes.added.append(entry)

    def _prepare(self, entry: Entry, prepare: Prepare) -> None:
        try:
            body, blob = prepare(entry.row)
        except Exception as error:
            refusal = error
            if not isinstance(error, StorageError):
                refusal = Unavailable(f"the artifact could not be read or kept: {error}")
            self._events.put(partial(self._not_prepared, entry, refusal))
        else:
            self._events.put(partial(self._prepared, entry, body, blob))

    def _prepared(self, entry: Entry, body: bytes, blob: BlobFile) -> None:
        entry.body, entry.spooled = body, blob
        self._usage.count(0, entry.size)
        self._schedule.prepared(entry)
        self._changes.added.append(entry)

    def _not_prepared(self, entry: Entry, error: Exception) -> None:
        self._refuse(entry, error)

    def _refuse(self, entry: Entry, error: Exception) -> None:
        before = self._schedule.withdraw(entry)
        self._leave([entry])
        if entry.spooled is not None:
            self._home.spool.remove([entry.spooled])
        self._fences.withdrawn(entry.id, before)
        if entry.receipt is not None:
            entry.receipt.fail(error)

    def _asked(self, inquiry: Inquiry, after: PickKeys) -> None:
        self._inquiries.add(inquiry)
        points = {key: last for key, last in self._schedule.pending().items() if after(key)}
        self._fences.wait(points, lambda: self._inquiries.release(inquiry, time.monotonic()))

    def _on_write_reply(self, message_id: str, reply: WriteReply) -> None:
        self._events.put(partial(self._replied, message_id, reply))

    def _on_query_reply(self, query_id: str, reply: QueryReply) -> None:
        self._events.put(partial(self._answered, query_id, reply))

    def _replied(self, message_id: str, reply: WriteReply) -> None:
        now = time.monotonic()
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
        for entry, outcome in zip(dispatch.entries, outcomes, strict=True):
            _resolve(entry, outcome)
        self._changes.confirmed.append(dispatch)
        self._leave(dispatch.entries)
        self._fences.passed((key, self._schedule.settled(key)) for key in dispatch.keys)

    def _answered(self, query_id: str, reply: QueryReply) -> None:
        inquiry = self._inquiries.take(query_id)
        if inquiry is None:
            return
        self._transport.forget(query_id)
        if reply.error is not None:
            inquiry.receipt.fail(from_record(reply.error))
        else:
            # In another thread: decoding may take long, and so may a file to write into.
            self._reader.submit(lambda: _finish(inquiry.receipt, lambda: inquiry.finish(reply.ok)))

    def _leave(self, entries: list[Entry]) -> None:
        for entry in entries:
            del self._open[entry.id]
        self._usage.release(len(entries), sum(entry.size for entry in entries))

    def _give_up(self, inquiry: Inquiry) -> None:
        self._transport.forget(inquiry.id)
        waiting = "earlier writes are not applied yet" if inquiry.due is None else "no reply came"
        inquiry.receipt.fail(
            Unavailable(f"{waiting} within the read timeout; is a worker running? zdk doctor tells")
        )

    # Sending

    def _send(self, dispatch: Dispatch) -> None:
        for entry in dispatch.entries:
            if entry.receipt is not None:
                entry.receipt.message_id = dispatch.id
        workers = self._stager if dispatch.blobs else self._sender
        workers.submit(partial(self._send_message, dispatch))

    def _send_message(self, dispatch: Dispatch) -> None:
        try:
            if dispatch.blobs:
                self._transport.stage(dispatch.blobs, missed=dispatch.missed)
            self._transport.send_message(dispatch.id, dispatch.body)
        except Exception as error:
            self._events.put(partial(self._not_sent, dispatch, error))
        else:
            self._events.put(partial(self._sent, dispatch))

    def _send_query(self, inquiry: Inquiry) -> None:
        try:
            left = max(0.0, inquiry.deadline - time.monotonic())
            self._transport.send_query(inquiry.id, inquiry.body, left)
        except Exception as error:
            log.info("a query could not be sent and will be sent again: %s", error)

    def _sent(self, dispatch: Dispatch) -> None:
        self._schedule.sent(dispatch.id, time.monotonic())
        if self._transport.durable:
            for entry in dispatch.entries:
                if entry.receipt is not None:
                    entry.receipt.accept()

    def _not_sent(self, dispatch: Dispatch, error: Exception) -> None:
        level = (
            logging.INFO if dispatch.attempts or isinstance(error, StorageError) else logging.ERROR
        )
        log.log(level, "a message could not be sent and will be sent again: %s", error)
        self._schedule.failed(dispatch.id, time.monotonic())

    # The end

    def _stop(self) -> None:
        self._stopping = True
        self._commit(time.monotonic())
        for entry in self._open.values():
            if entry.receipt is not None:
                entry.receipt.fail(Unavailable(f"the client was closed; {self._left(entry)}"))
        for inquiry in self._inquiries.all():
            inquiry.receipt.fail(Unavailable("the client was closed before the reply came"))

    def _left(self, entry: Entry) -> str:
        """What becomes of an operation that has no outcome when the client closes."""
        assert entry.receipt is not None
        if not entry.receipt.accepted.done():
            return "the operation was not accepted, and is gone"
        if self._home.journal.durable:
            return "the operation stays in the outbox and goes on when that is opened again"
        return (
            "the broker has taken the operation, and it will be applied unless the broker loses it;"
            " client.status tells"
        )

    def _fail_open(self, error: Unavailable) -> None:
        for entry in self._open.values():
            if entry.receipt is not None:
                entry.receipt.fail(error)
        for inquiry in self._inquiries.all():
            inquiry.receipt.fail(error)


def _resolve(entry: Entry, outcome: Outcome) -> None:
    if outcome.error is not None:
        error = from_record(outcome.error)
        if entry.receipt is None:
            log.warning("operation %d of a former client failed: %s", entry.id, error)
        else:
            # It was kept and decided, so it had been accepted.
            entry.receipt.accept()
            entry.receipt.fail(error)
    elif entry.receipt is not None and entry.finish is not None:
        finish, ok = entry.finish, outcome.ok
        _finish(entry.receipt, lambda: finish(ok))


def _finish(receipt: Any, result: Callable[[], Any]) -> None:
    """Resolve a receipt; a reply that this release cannot read becomes its error."""
    try:
        value = result()
    except Exception as error:
        receipt.fail(error)
    else:
        receipt.succeed(value)
