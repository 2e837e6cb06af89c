"""How full the outbox is."""

from __future__ import annotations

import asyncio
import threading

from api_client.contract.errors import OutboxFull

#: Operations handed to the pump that it has not looked at yet. A caller that has so many pauses,
#: because its thread and the pump's take turns at Python's lock: while it goes on, nothing is sent
#: (docs/decisions/0014). An event loop pauses only where its operations would fill the memory.
_MOST_HANDED_OVER = 700
_MOST_OF_EVENT_LOOP = 10_000
#: Seconds that a caller pauses at most.
_PAUSE = 0.1


class Usage:
    """Counts the operations and bytes in the outbox, and makes callers wait or fail when full.

    Parameters:
        max_operations, max_bytes: the limits.
    """

    def __init__(self, max_operations: int, max_bytes: int):
        self._limits = (max_operations, max_bytes)
        self._room = threading.Condition()
        self._ended = False
        self._handed_over = 0
        self.operations = 0
        self.bytes = 0

    @property
    def limits(self) -> tuple[int, int]:
        """The most operations and bytes."""
        return self._limits

    def reserve(self, size: int, block: float) -> None:
        """Count one operation of ``size`` bytes, waiting up to ``block`` seconds for room.

        If very many that were reserved have not been `taken` yet, this pauses for a moment. Once it
        has `end`-ed, there is room for all, and the outbox refuses them.

        Raises:
            OutboxFull: there is still no room.
        """
        with self._room:
            if self._handed_over >= _MOST_HANDED_OVER and not self._may_go_on():
                self._room.wait_for(self._taken_up, _PAUSE)
            if not self._fits(size) and not self._room.wait_for(lambda: self._fits(size), block):
                max_operations, max_bytes = self._limits
                full = self.operations >= max_operations
                raise OutboxFull(
                    f"the outbox holds {self.operations:,} operations and {self.bytes:,} bytes; "
                    f"its limits are {max_operations:,} and {max_bytes:,}. Workers are too few or "
                    "down (zdk doctor tells), or the limits too low",
                    field="max_operations" if full else "max_bytes",
                    limit=max_operations if full else max_bytes,
                )
            self.operations += 1
            self.bytes += size
            self._handed_over += 1

    def taken(self, operations: int) -> None:
        """Note that the pump has some of the reserved operations."""
        with self._room:
            before = self._handed_over
            self._handed_over -= operations
            if self._handed_over <= _MOST_HANDED_OVER // 2 < before:
                self._room.notify_all()

    def give_back(self, size: int) -> None:
        """Forget a reservation of ``size`` bytes whose operation could not be taken."""
        self.taken(1)
        self.release(1, size)

    def count(self, operations: int, size: int) -> None:
        """Count operations that were found on opening, whatever the limits."""
        with self._room:
            self.operations += operations
            self.bytes += size

    def release(self, operations: int, size: int) -> None:
        """Count operations that have left."""
        with self._room:
            self.operations -= operations
            self.bytes -= size
            self._room.notify_all()

    def end(self) -> None:
        """Let nobody wait for room any more, because there will be none."""
        with self._room:
            self._ended = True
            self._room.notify_all()

    def _may_go_on(self) -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return self._handed_over < _MOST_OF_EVENT_LOOP

    def _taken_up(self) -> bool:
        return self._ended or self._handed_over <= _MOST_HANDED_OVER // 2

    def _fits(self, size: int) -> bool:
        max_operations, max_bytes = self._limits
        # An operation larger than the whole limit may enter when nothing else is there.
        return self._ended or (
            self.operations < max_operations
            and (self.bytes + size <= max_bytes or self.operations == 0)
        )
