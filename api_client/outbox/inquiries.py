"""Queries on their way: when to ask again, and when to give up. Pure; the clock is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from api_client.receipts import Receipt


@dataclass(slots=True, eq=False)
class Inquiry:
    """One query.

    Attributes:
        id: names the request and its reply.
        body: the query as JSON.
        receipt: the caller's.
        finish: makes the receipt's result of the reply's JSON.
        deadline: when to give up, on the client's clock.
        due: when to ask again; None until the writes before it have been confirmed.
        wait: seconds until the time after that; doubles.
    """

    id: str
    body: bytes
    receipt: Receipt[Any]
    finish: Callable[[msgspec.Raw], Any]
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

    def add(self, inquiry: Inquiry) -> None:
        """Take a query that may have to wait for writes."""
        self._open[inquiry.id] = inquiry

    def release(self, inquiry: Inquiry, now: float) -> None:
        """Let a query go out now."""
        inquiry.due = now

    def take(self, query_id: str) -> Inquiry | None:
        """Forget a query that has been answered; None if it was before."""
        return self._open.pop(query_id, None)

    def due(self, now: float) -> list[Inquiry]:
        """Queries to be sent now; each will be due again later."""
        found = [i for i in self._open.values() if i.due is not None and i.due <= now]
        for inquiry in found:
            inquiry.wait = 2 * inquiry.wait or self._ask_again
            inquiry.due = now + inquiry.wait
        return found

    def expired(self, now: float) -> list[Inquiry]:
        """Forget and return the queries whose time is up."""
        found = [inquiry for inquiry in self._open.values() if inquiry.deadline <= now]
        for inquiry in found:
            del self._open[inquiry.id]
        return found

    def next_due(self) -> float | None:
        """When `due` or `expired` will next have something to give, if ever."""
        times = [i.deadline if i.due is None else min(i.due, i.deadline) for i in self.all()]
        return min(times, default=None)

    def all(self) -> list[Inquiry]:
        """All open queries."""
        return list(self._open.values())
