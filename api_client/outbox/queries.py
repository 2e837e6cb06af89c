"""The pump's part that reads: queries wait for writes, are asked, and answered or given up."""

from __future__ import annotations

from functools import partial

from api_client.contract.errors import Unavailable, from_record
from api_client.contract.outcomes import QueryReply
from api_client.outbox.inquiries import Inquiries, Inquiry
from api_client.outbox.runtime import Runtime
from api_client.outbox.sender import Sender
from api_client.outbox.writes import PendingWrites, PickWrites, Wait
from api_client.transport.base import Transport

#: Seconds without a reply after which a query is sent again.
_ASK_AGAIN = 5.0


class Queries:
    """All queries that have no reply yet. Used by the pump's turns only.

    Parameters:
        transport: told when nobody waits for a reply any more.
        sender: sends them.
        runtime: gives the time, and decodes replies elsewhere.
        writes: what they wait for.
    """

    def __init__(
        self, transport: Transport, sender: Sender, runtime: Runtime, writes: PendingWrites
    ):
        self._transport = transport
        self._sender = sender
        self._runtime = runtime
        self._writes = writes
        self._inquiries = Inquiries(_ASK_AGAIN)
        #: What open queries wait for, by id.
        self._waits: dict[str, Wait] = {}

    def add(self, inquiry: Inquiry, after: PickWrites) -> None:
        """Take a query that has to wait for the writes that ``after`` picks."""
        self._inquiries.add(inquiry)
        wait = self._writes.wait(after, partial(self._release, inquiry))
        if inquiry.due is None:
            self._waits[inquiry.id] = wait

    def turn(self, now: float) -> None:
        """Send what is due, and give up what is too late."""
        for inquiry in self._inquiries.due(now):
            self._sender.ask(inquiry)
        for inquiry in self._inquiries.expired(now):
            self._give_up(inquiry)

    def next_due(self) -> float | None:
        """When `turn` will next have something to do, if ever."""
        return self._inquiries.next_due()

    def answered(self, query_id: str, reply: QueryReply) -> None:
        """Resolve the receipt of a query with its reply."""
        inquiry = self._inquiries.take(query_id)
        if inquiry is None:
            return
        self._transport.forget(query_id)
        if reply.error is not None:
            inquiry.receipt.fail(from_record(reply.error))
        else:
            # In another thread: decoding may take long, and so may a file to write into.
            self._runtime.reader.submit(partial(inquiry.receipt.finish, reply.ok))

    def fail(self, error: Unavailable) -> None:
        """Fail all that have no reply."""
        for inquiry in self._inquiries.all():
            inquiry.receipt.fail(error)

    def _release(self, inquiry: Inquiry) -> None:
        self._waits.pop(inquiry.id, None)
        self._inquiries.release(inquiry, self._runtime.clock())

    def _give_up(self, inquiry: Inquiry) -> None:
        self._transport.forget(inquiry.id)
        wait = self._waits.pop(inquiry.id, None)
        if wait is not None:
            self._writes.drop(wait)
        waiting = "earlier writes are not applied yet" if inquiry.due is None else "no reply came"
        inquiry.receipt.fail(
            Unavailable(f"{waiting} within the read timeout; is a worker running? zdk doctor tells")
        )
