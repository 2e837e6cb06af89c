"""What the outbox holds: operations waiting, and messages on their way."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from api_client.contract.codec import MAX_TRACES, encode_message
from api_client.contract.ordering import OrderingKey
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile


@dataclass(slots=True, eq=False)
class Entry:
    """One write operation in the outbox.

    Attributes:
        id: its place in the schedule; 0 while it has none.
        keys: its ordering keys.
        body: the operation as JSON; empty while its bytes are still being spooled.
        receipt: the caller's, or None after a restart.
        spooled: where an artifact's bytes wait, and what they are, if they are not in the body.
        home: where it is kept; a message holds entries of one home only, because it must be
            recorded in one transaction.
        row: its place there, in the order of issue; its ``id`` if not given.
        trace: the trace that it belongs to, as a ``traceparent`` text; None if it is not traced.
    """

    id: int
    keys: frozenset[OrderingKey]
    body: bytes
    receipt: Receipt[Any] | None = None
    spooled: BlobFile | None = None
    home: Hashable = None
    row: int = 0
    trace: str | None = None

    def __post_init__(self) -> None:
        self.row = self.row or self.id

    @property
    def size(self) -> int:
        """Bytes it takes in a message."""
        return len(self.body)

    @property
    def staged_bytes(self) -> int:
        """Bytes beside the message that it refers to."""
        return 0 if self.spooled is None else self.spooled.reference.size


@dataclass(slots=True, eq=False)
class Dispatch:
    """A message on its way: packed, perhaps sent, not yet confirmed.

    Attributes:
        id: the message id.
        entries: its operations, in the order of issue.
        attempts: how many times it has been sent.
        sent_at: when it was last sent; infinite before.
        missed: a worker did not find its staged bytes.
        due: when to send it (again), on the schedule's clock; infinite while it is being sent.
        expired: it is too old to be sent again.
        body: the message as JSON.
        keys: the ordering keys of all its operations.
    """

    id: str
    entries: list[Entry]
    attempts: int = 0
    missed: bool = False
    sent_at: float = float("inf")
    due: float = float("inf")
    expired: bool = False
    body: bytes = field(default=b"", repr=False)
    keys: frozenset[OrderingKey] = frozenset()

    def __post_init__(self) -> None:
        self.body = encode_message(self.id, (entry.body for entry in self.entries))
        self.keys = frozenset().union(*(entry.keys for entry in self.entries))

    @property
    def staged_bytes(self) -> int:
        """Bytes that must be staged before it is sent."""
        return sum(entry.staged_bytes for entry in self.entries)

    @property
    def traces(self) -> list[str]:
        """The traces of its operations, each once, at most `MAX_TRACES` of them."""
        found = (entry.trace for entry in self.entries if entry.trace is not None)
        return [*dict.fromkeys(found)][:MAX_TRACES]

    @property
    def blobs(self) -> list[BlobFile]:
        """The files whose bytes must be staged before it is sent."""
        return [entry.spooled for entry in self.entries if entry.spooled is not None]
