"""The limits of an outbox."""

from __future__ import annotations

from dataclasses import dataclass, field

from api_client.contract.limits import GIB, MIB
from api_client.outbox.schedule import ScheduleOptions

#: What an outbox may hold in memory, and in a file: operations, and bytes.
IN_MEMORY = (100_000, 256 * MIB)
IN_FILE = (10_000_000, 4 * GIB)


@dataclass(frozen=True)
class OutboxOptions:
    """Limits of an outbox.

    Attributes:
        max_operations, max_bytes: what it may hold, `IN_MEMORY` or `IN_FILE` if None; artifact
            bytes beside it do not count.
        loaded_operations, loaded_bytes: of the operations that wait in a file, those kept in
            memory too; the last may exceed the bytes.
        schedule: how messages are packed and resent.
    """

    max_operations: int | None = None
    max_bytes: int | None = None
    loaded_operations: int = 50_000
    loaded_bytes: int = 32 * MIB
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)

    def limits(self, *, durable: bool) -> tuple[int, int]:
        """Operations and bytes that an outbox may hold, in a file (``durable``) or in memory."""
        operations, size = IN_FILE if durable else IN_MEMORY
        return (
            operations if self.max_operations is None else self.max_operations,
            size if self.max_bytes is None else self.max_bytes,
        )
