"""An outbox without threads and without time of its own: a test turns it, and is its transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from api_client.contract import codec
from api_client.contract.errors import ErrorRecord, Unavailable
from api_client.contract.keys import SessionKey
from api_client.contract.operations import DeleteSession, WriteOperation
from api_client.contract.ordering import OrderingKey, session_ordering
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from api_client.outbox.outbox import Outbox
from api_client.outbox.pump import Pump
from api_client.outbox.runtime import Event, Runtime
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply

#: Noon of some day, in seconds since 1970.
NOON = 1_800_014_400.0
#: Of messages; two loops never make the same id.
_numbers = count(1)

OK = Outcome(ok=msgspec.Raw(b"1"))
BAD = Outcome(error=ErrorRecord("not_found", "no such session"))


class Held:
    """An executor whose work the test runs."""

    def __init__(self) -> None:
        self.work: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Keep ``work``."""
        self.work.append(work)

    def run(self) -> bool:
        """Run all there is; whether there was any."""
        found = bool(self.work)
        while self.work:
            self.work.popleft()()
        return found


class DrivenLoop:
    """A loop that turns when it is told to.

    Attributes:
        now, wall: what the clocks show.
        due: when the pump wants to be turned next.
    """

    def __init__(self, wall: float = NOON) -> None:
        self.now, self.wall = 0.0, wall
        self.due: float | None = None
        self.running = False
        self.events: list[Event] = []
        self.sender, self.stager, self.uploader, self.reader = Held(), Held(), Held(), Held()
        self.runtime = Runtime(
            self.events.append,
            lambda: self.now,
            lambda: self.wall,
            self.sender,
            self.stager,
            self.uploader,
            self.reader,
            lambda: message_id(self.wall, next(_numbers)),
        )

    def start(self, pump: Pump) -> None:
        """See `Loop.start`."""
        self.pump, self.running = pump, True

    def stop(self, timeout: float) -> None:
        """See `Loop.stop`."""
        self.pump.stop()
        self.turn()
        self.sender.run()
        self.running = False

    def turn(self) -> None:
        """One turn with what has happened."""
        events = [*self.events]
        self.events.clear()
        self.due = self.pump.turn(events)

    def settle(self) -> None:
        """Turn and run what was handed over, until nothing happens at the present time."""
        self.turn()
        while self._work() or self.events or (self.due is not None and self.due <= self.now):
            self.turn()

    def wait(self, seconds: float) -> None:
        """Settle, let time pass, and settle again."""
        self.settle()
        self.now += seconds
        self.wall += seconds
        self.settle()

    def _work(self) -> bool:
        ran = [held.run() for held in (self.sender, self.stager, self.uploader, self.reader)]
        return any(ran)


class FakeWorker:
    """A transport that applies each message at once, while it is up.

    Attributes:
        up: whether anything reaches it.
        answering: whether it tells what became of messages.
        messages: ids of those that have reached it, copies too.
        traces: those that each of them has named.
        applied: all operations, in the order of application; a query stands there as None.
        outcome: what becomes of an operation.
    """

    durable = True

    def __init__(self, *, up: bool = True) -> None:
        self.up, self.answering = up, True
        self.messages: list[str] = []
        self.traces: list[Sequence[str]] = []
        self.forgotten: list[str] = []
        self.applied: list[WriteOperation | None] = []
        self.outcome: Callable[[WriteOperation], Outcome] = lambda _: OK

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        """See `Transport.start`."""
        self.on_write, self.on_query = on_write, on_query

    def stage_early(self, blob: BlobFile) -> None:
        pass

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """See `Transport.stage`."""

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        """See `Transport.send_message`."""
        if not self.up:
            raise Unavailable("the broker is down")
        new = message_id not in self.messages
        self.messages.append(message_id)
        self.traces.append(traces)
        operations = [codec.decode_operation(raw) for raw in codec.decode_message(body).operations]
        if new:
            self.applied += operations
        if self.answering:
            outcomes = [self.outcome(operation) for operation in operations]
            self.on_write(message_id, WriteReply(outcomes=outcomes))

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        """See `Transport.send_query`."""
        if self.up:
            self.applied.append(None)
            self.on_query(query_id, QueryReply(ok=msgspec.Raw(b"42")))

    def forget(self, request_id: str) -> None:
        """See `Transport.forget`."""
        self.forgotten.append(request_id)

    def close(self) -> None:
        """See `Transport.close`."""

    @property
    def sessions(self) -> list[str]:
        """The names of the sessions of what was applied, and ``query`` where one was answered."""
        return [
            operation.key.session if isinstance(operation, DeleteSession) else "query"
            for operation in self.applied
        ]


def write(outbox: Outbox, session: str = "s") -> Receipt[bytes]:
    """Submit an operation on a session."""
    receipt: Receipt[bytes] = Receipt(0.0, bytes)
    outbox.submit(delete(session), frozenset({ordering(session)}), receipt, 0)
    return receipt


def ordering(session: str) -> OrderingKey:
    """The ordering key of a session."""
    return session_ordering(SessionKey("app", "user", session))


def delete(session: str) -> bytes:
    """The JSON of an operation on a session."""
    return codec.encode_operation(DeleteSession(key=SessionKey("app", "user", session)))


def message_id(wall: float, number: int) -> str:
    """A UUIDv7 of a moment, in seconds since 1970."""
    digits = f"{int(wall * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012x}"
