"""A journal on a simulated disk, which survives the client and is full at times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from api_client.outbox.changes import Changes
from api_client.outbox.check import Totals
from api_client.outbox.journal import StoredOperation


@dataclass
class Disk:
    """What survives a client's death.

    Attributes:
        rows: operations by their row: the message they are in, and their JSON.
        full: whether nothing can be written now.
    """

    rows: dict[int, tuple[str | None, bytes]] = field(default_factory=dict)
    full: bool = False


class SimulatedJournal:
    """A `Journal` on a `Disk`; a commit is made whole or not at all."""

    name = "simulated"
    durable = True

    def __init__(self, disk: Disk):
        self._disk = disk
        self.found = Totals(
            operations=len(disk.rows),
            bytes=sum(len(body) for _, body in disk.rows.values()),
            waiting=sum(message is None for message, _ in disk.rows.values()),
            last=max(disk.rows, default=0),
        )

    def commit(self, changes: Changes) -> None:
        """See `Journal.commit`."""
        if self._disk.full:
            raise OSError(28, "No space left on device")
        rows = self._disk.rows
        for entry in changes.added:
            assert entry.row not in rows, "a row was used twice"
            rows[entry.row] = (None, entry.body)
        for dispatch in changes.packed:
            for entry in dispatch.entries:
                assert rows[entry.row][0] is None, "an operation was packed twice"
                rows[entry.row] = (dispatch.id, entry.body)
        gone = {dispatch.id for dispatch in changes.confirmed}
        dropped = {entry.row for entry in changes.dropped}
        for row in [row for row, (message, _) in rows.items() if message in gone or row in dropped]:
            del rows[row]

    def packed(self) -> Iterator[StoredOperation]:
        """See `Journal.packed`."""
        found = [
            StoredOperation(row, message, body)
            for row, (message, body) in self._disk.rows.items()
            if message is not None
        ]
        return iter(sorted(found, key=lambda one: (one.message_id or "", one.id)))

    def waiting(self, after: int, operations: int, size: int) -> list[StoredOperation]:
        """See `Journal.waiting`."""
        found: list[StoredOperation] = []
        for row, (message, body) in sorted(self._disk.rows.items()):
            if message is not None or row <= after:
                continue
            if len(found) == operations or size <= 0:
                break
            found.append(StoredOperation(row, None, body))
            size -= len(body)
        return found

    def holds(self, row: int) -> bool:
        """See `Journal.holds`."""
        return row in self._disk.rows

    def tidy(self) -> bool:
        """See `Journal.tidy`."""
        return False

    def close(self) -> None:
        """See `Journal.close`."""

    def discard(self) -> None:
        """See `Journal.discard`."""
