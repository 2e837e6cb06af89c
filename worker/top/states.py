"""What one look finds, as data."""

from __future__ import annotations

from datetime import datetime

import msgspec

from worker.broker.queues import QueueState, UnacknowledgedState
from worker.top.totals import Totals, WorkerLook


class MemoryState(msgspec.Struct, frozen=True):
    """A Redis' memory: bytes used, bytes it may use (0: no limit), and what it evicts then."""

    used: int
    most: int
    policy: str


class BrokerLook(msgspec.Struct, frozen=True):
    """A look at the broker.

    Attributes:
        queues: what waits in each.
        unacknowledged: what workers have taken; None if the broker does not tell.
        lag: seconds since the oldest message was issued that is not applied; of what a worker has
            taken, only since then. 0 if there is none, None if the broker does not tell.
        memory: None if it is no Redis.
    """

    queues: list[QueueState]
    unacknowledged: UnacknowledgedState | None
    lag: float | None
    memory: MemoryState | None


class NewestDeadLetter(msgspec.Struct, frozen=True):
    """The last operation or message that failed: when, and the code of its error."""

    failed_at: datetime
    code: str


class DatabaseLook(msgspec.Struct, frozen=True):
    """A look at the database.

    Attributes:
        dialect: ``postgresql`` or ``sqlite``.
        size: bytes.
        dead_letters: how many are kept.
        newest: of these; None without any.
        connections, most_connections: of the server, taken and to be had; None if it has none.
    """

    dialect: str
    size: int
    dead_letters: int
    newest: NewestDeadLetter | None = None
    connections: int | None = None
    most_connections: int | None = None


class Picture(msgspec.Struct, frozen=True):
    """All of it at one moment. A part that could not be seen is None, and ``trouble`` says why.

    Attributes:
        at: when.
        broker, database: the last looks at them.
        workers: those seen.
        totals: of the workers that are alive; None if these could not be seen.
        trouble: by part: broker, workers, database.
    """

    at: datetime
    broker: BrokerLook | None
    workers: list[WorkerLook] | None
    totals: Totals | None
    database: DatabaseLook | None
    trouble: dict[str, str]
