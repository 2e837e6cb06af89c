"""Queries on their way: when to ask again, and when to give up. Pure; the clock is handed in."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from api_client.receipts import Receipt


@dataclass(slots=True, eq=False)
class Inquiry:
    """One query.

    Attributes:
        id: names the request and its reply.
        body: the query as JSON.
        receipt: the caller's.
        deadline: when to give up, on the client's clock.
        due: when to ask again; None until the writes before it have been confirmed.
        wait: seconds until the time after that; doubles.
    """

    id: str
    body: bytes
    receipt: Receipt[Any]
    deadline: float
    due: float | None = None
    wait: float = 0.0


class Inquiries:
    """All queries that have no reply yet.

    Parameters:
        ask_again: seconds without a reply after which a query is sent again.
    """

    def __init__(self, ask_again: float):
        self._ask_again = ask_again
        self._open: dict[str, Inquiry] = {}
        #: Heaps by time, of ids, so that those answered meanwhile are not kept.
        self._deadlines: list[tuple[float, str]] = []
        self._dues: list[tuple[float, str]] = []

    def add(self, inquiry: Inquiry) -> None:
        """Take a query that may have to wait for writes."""
        self._open[inquiry.id] = inquiry
        heapq.heappush(self._deadlines, (inquiry.deadline, inquiry.id))

    def release(self, inquiry: Inquiry, now: float) -> None:
        """Let a query go out now."""
        self._ask_at(inquiry, now)

    def take(self, query_id: str) -> Inquiry | None:
        """Forget a query that has been answered; None if it was before."""
        return self._open.pop(query_id, None)

    def due(self, now: float) -> list[Inquiry]:
        """Queries to be sent now; each will be due again later."""
        found = self._popped(self._dues, now)
        for inquiry in found:
            inquiry.wait = 2 * inquiry.wait or self._ask_again
            self._ask_at(inquiry, now + inquiry.wait)
        return found

    def expired(self, now: float) -> list[Inquiry]:
        """Forget and return the queries whose time is up."""
        found = self._popped(self._deadlines, now)
        for inquiry in found:
            del self._open[inquiry.id]
        return found

    def next_due(self) -> float | None:
        """When `due` or `expired` will next have something to give, if ever."""
        for heap in (self._dues, self._deadlines):
            while heap and heap[0][1] not in self._open:
                heapq.heappop(heap)
        return min((heap[0][0] for heap in (self._dues, self._deadlines) if heap), default=None)

    def all(self) -> list[Inquiry]:
        """All open queries."""
        return list(self._open.values())

    def _ask_at(self, inquiry: Inquiry, time: float) -> None:
        inquiry.due = time
        heapq.heappush(self._dues, (time, inquiry.id))

    def _popped(self, heap: list[tuple[float, str]], now: float) -> list[Inquiry]:
        """The open ones whose time has come."""
        found = []
        while heap and heap[0][0] <= now:
            _, query_id = heapq.heappop(heap)
            if query_id in self._open:
                found.append(self._open[query_id])
        return found
