"""Where an operation waits: in the schedule, or in the backlog when too many are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from api_client.outbox.backlog import Backlog
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.options import OutboxOptions
from api_client.outbox.schedule import Schedule

#: Operations taken from the backlog in one turn, which must not last long.
_SLICE = 1000


class Intake:
    """Puts entries into the schedule, in the order of issue. Used by the pump's turns only.

    Parameters:
        schedule, backlog: the two places.
        options: how much may wait in the schedule.
        bounded: whether it is bounded at all; what is in no file has no other place.
    """

    def __init__(
        self, schedule: Schedule, backlog: Backlog, options: OutboxOptions, *, bounded: bool
    ):
        self._schedule = schedule
        self._backlog = backlog
        self._operations = options.loaded_operations
        self._bytes = options.loaded_bytes
        self._bounded = bounded
        self._ids = count(1)

    def restore(self, dispatches: Iterable[Dispatch], now: float) -> None:
        """Take messages that a former client has left."""
        for dispatch in dispatches:
            for entry in dispatch.entries:
                entry.id = next(self._ids)
            self._schedule.restore(dispatch, now)

    def place(self, entry: Entry) -> None:
        """Take a new entry; one without a body holds its place until `prepared`."""
        if self._backlog or not self._has_room():
            self._backlog.append(entry)
        else:
            self._backlog.bypass(entry)
            self._add(entry)

    def prepared(self, entry: Entry) -> None:
        """Note that the body of an entry is there now."""
        if entry.id:
            self._schedule.prepared(entry)
        else:
            self._backlog.prepared(entry)

    def recorded(self, entries: Iterable[Entry]) -> None:
        """Note that new entries are in the journal."""
        for entry in entries:
            if not entry.id:
                self._backlog.recorded(entry)

    def withdraw(self, entries: Sequence[Entry]) -> None:
        """Drop entries that wait."""
        self._schedule.withdraw([entry for entry in entries if entry.id])
        for entry in entries:
            if not entry.id:
                self._backlog.withdraw(entry)

    def refill(self) -> bool:
        """Take some of the backlog if less than half as much waits in the schedule as may;
        whether there was any. All new entries must have been recorded.

        Raises:
            sqlite3.Error: the journal cannot be read now; nothing was taken.
        """
        operations, size = self._operations // 2, self._bytes // 2
        busy = self._schedule.operations > operations or self._schedule.bytes > size
        if busy or not self._backlog:
            return False
        for entry in self._backlog.take(max(1, min(_SLICE, operations)), size):
            self._add(entry)
        return True

    def _has_room(self) -> bool:
        return not self._bounded or (
            self._schedule.operations < self._operations and self._schedule.bytes < self._bytes
        )

    def _add(self, entry: Entry) -> None:
        entry.id = next(self._ids)
        self._schedule.add(entry)
