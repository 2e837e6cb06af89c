"""What every transport does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from api_client.contract.operations import BlobReference
from api_client.contract.outcomes import QueryReply, WriteReply


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A file with bytes too large for a message, and what they are.

    Attributes:
        path: of the file; nobody changes it.
        reference: hash and size of its bytes.
        shareable: whether the blob store may share the file: this process has found its bytes to
            be right, and they survive a crash.
    """

    path: Path
    reference: BlobReference
    shareable: bool = field(default=False, compare=False)


#: Called with a message id and its reply, from any thread.
OnWriteReply = Callable[[str, WriteReply], None]
#: Called with a query id and its reply, from any thread.
OnQueryReply = Callable[[str, QueryReply], None]


class Transport(Protocol):
    """Carries messages and queries to a worker. Every method but `start` may be called from any
    thread, and each is bounded in time."""

    #: Whether a message that `send_message` has taken survives this process.
    durable: bool

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        """Begin to hand replies to the two callbacks. Replies may be lost, late or doubled."""

    def stage_early(self, blob: BlobFile) -> None:
        """Make these bytes reachable before their message is formed, if that fills nobody's
        memory. It may be left out, and nothing is told of a failure: `stage` follows."""

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """Make these bytes reachable for the worker that will apply their message.

        Parameters:
            missed: a worker did not find them where they had been staged before.

        Raises:
            Unavailable: that is not possible now.
        """

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        """Hand a message over. It may be lost later; the outbox then sends it again.

        Parameters:
            traces: those that its operations belong to, as ``traceparent`` texts.

        Raises:
            Unavailable: that is not possible now.
        """

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        """Hand a query over, likewise.

        Parameters:
            expires: seconds after which nobody waits for the reply any more.
        """

    def forget(self, request_id: str) -> None:
        """Stop waiting for the reply to a message or query."""

    def close(self) -> None:
        """Let go of connections and threads."""
