"""A client: the real outbox over simulated surroundings, over several lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import msgspec

from api_client.contract import codec
from api_client.contract.errors import StorageError
from api_client.contract.events import encode_event
from api_client.contract.keys import SessionKey
from api_client.contract.operations import AppendEvents, CreateSession, LoadSession, WriteOperation
from api_client.contract.ordering import ordering_keys, session_ordering
from api_client.contract.records import Event
from api_client.outbox.homes import Home
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.pump import Pump
from api_client.outbox.runtime import Event as Happening
from api_client.outbox.runtime import Runtime
from api_client.outbox.schedule import ScheduleOptions
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.requests import on
from tests.simulation.broker import Broker, SimulatedTransport
from tests.simulation.disk import Disk, SimulatedJournal

#: Small, so that every limit is met.
OPTIONS = OutboxOptions(
    loaded_operations=4,
    schedule=ScheduleOptions(window=2, operations=3, message_bytes=1200),
)


@dataclass
class Clock:
    """The time, the same for all; and ids in its order, which no two runs differ in."""

    now: float = 1_800_000_000.0
    _ids: Iterator[int] = field(default_factory=count)

    def new_id(self) -> str:
        """A UUIDv7."""
        milliseconds = int(self.now * 1000)
        return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | next(self._ids)))


class Postponed:
    """An `Executor` that runs nothing until it is told to."""

    def __init__(self) -> None:
        self.work: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """See `Executor.submit`."""
        self.work.append(work)


class SimulatedLoop:
    """A `Loop` that turns its pump when it is told to."""

    def __init__(self, clock: Clock):
        self._events: deque[Happening] = deque()
        self.executors = [Postponed(), Postponed(), Postponed(), Postponed()]
        sender, stager, uploader, reader = self.executors
        self.runtime = Runtime(
            self._events.append,
            lambda: clock.now,
            lambda: clock.now,
            sender,
            stager,
            uploader,
            reader,
            clock.new_id,
        )
        self.due: float | None = None

    @property
    def running(self) -> bool:
        """See `Loop.running`."""
        return True

    def start(self, pump: Pump) -> None:
        """See `Loop.start`."""
        self._pump = pump
        self.turn()

    def stop(self, timeout: float) -> None:
        """See `Loop.stop`. No simulated client is closed; they are killed."""

    def turn(self) -> None:
        """One turn with all that has happened."""
        happened = [*self._events]
        self._events.clear()
        self.due = self._pump.turn(happened)

    def run_one(self) -> bool:
        """Run the oldest piece of work that was handed elsewhere; whether there was any."""
        for executor in self.executors:
            if executor.work:
                executor.work.popleft()()
                return True
        return False


@dataclass
class Issued:
    """An operation that was issued.

    Attributes:
        life: in which of its client's lives.
        number: its place among all that its client has issued.
        accepted: whether its receipt said so before that life was ended.
    """

    life: int
    number: int
    is_append: bool
    receipt: Receipt[Any]
    accepted: bool = False

    @property
    def was_accepted(self) -> bool:
        """Whether its caller has ever been told that it is durable."""
        return self.accepted or _resolved(self.receipt.accepted)


@dataclass
class Load:
    """A load. What must be in it: everything that its client issued ``before`` it on its session,
    and that is applied in the end."""

    client: str
    life: int
    key: SessionKey
    before: int
    receipt: Receipt[Any]


@dataclass
class SimulatedClient:
    """One client over its lives.

    Attributes:
        issued: all operations, in the order of issue.
        loads: all loads.
    """

    name: str
    broker: Broker
    clock: Clock
    disk: Disk = field(default_factory=Disk)
    issued: list[Issued] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    life: int = 0

    def __post_init__(self) -> None:
        self._open()

    def append(self, key: SessionKey, state_key: str | None) -> None:
        """Append the next event, perhaps with a state key of the app's."""
        number = len(self.issued)
        delta = {} if state_key is None else {state_key: number}
        event = Event(author="a", content=number, state_delta=delta, id=f"{self.name}-{number}")
        operation = AppendEvents(key=key, events=[encode_event(event)])
        self._submit(operation, [*delta])

    def create(self, key: SessionKey) -> None:
        """Create a session."""
        self._submit(CreateSession(key=key), [])

    def load(self, key: SessionKey) -> None:
        """Load a session."""
        receipt: Receipt[Any] = Receipt(60.0, lambda raw: msgspec.json.decode(raw))
        self.loads.append(Load(self.name, self.life, key, len(self.issued), receipt))
        query = codec.encode_query(LoadSession(key=key))
        self._outbox.ask(query, on(session_ordering(key)), receipt, 1e9)

    def kill(self) -> None:
        """End this life without a word, and begin the next one."""
        for one in self.issued:
            one.accepted = one.was_accepted
        self.life += 1
        self._open()

    def _submit(self, operation: WriteOperation, state_keys: list[str]) -> None:
        receipt: Receipt[Any] = Receipt(60.0, lambda raw: msgspec.json.decode(raw))
        is_append = isinstance(operation, AppendEvents)
        self.issued.append(Issued(self.life, len(self.issued), is_append, receipt))
        body = codec.encode_operation(operation)
        try:
            self._outbox.submit(body, ordering_keys(operation, state_keys), receipt, 0.0)
        except StorageError as error:
            receipt.fail(error)

    def _open(self) -> None:
        self.loop = SimulatedLoop(self.clock)
        home = Home(SimulatedJournal(self.disk), Spool(None))
        self.transport = SimulatedTransport(self.broker)
        self._outbox = Outbox([home], self.transport, OPTIONS, self.loop)

    @property
    def waits(self) -> bool:
        """Whether anything issued in this life, or left by an earlier one, has not ended."""
        loads = (load for load in self.loads if load.life == self.life)
        return bool(
            self.pending or self.disk.rows or any(not load.receipt.done() for load in loads)
        )

    @property
    def pending(self) -> int:
        """Operations without an outcome."""
        return self._outbox.pending


def _resolved(future: Any) -> bool:
    return future.done() and future.exception(0) is None
