"""Operations that are kept in files only, because there are too many of them for the memory.

They are taken into memory again in the order of issue, home by home; new ones always go to the
end. So whoever wants to know the ordering keys of all that is here now can wait until it has been
taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from weakref import WeakValueDictionary

from api_client.outbox.entries import Entry
from api_client.outbox.homes import Home
from api_client.outbox.journal import StoredOperation
from api_client.outbox.restore import read_entry
from api_client.receipts import Receipt

#: A place in the backlog: which home, and which row there.
Position = tuple[int, int]


@dataclass(eq=False)
class Mark:
    """Something that waits until everything up to a place has been taken."""

    position: Position
    then: Callable[[], None]


class Backlog:
    """The operations that only the journals of some homes hold.

    Parameters:
        homes: the last is the one for new operations.
        unreadable: told of a stored operation that this release cannot read, and that stays.
    """

    def __init__(self, homes: Sequence[Home], unreadable: Callable[[StoredOperation], None]):
        self._stretches = [_Stretch(home) for home in homes]
        self._unreadable = unreadable
        self._first = 0
        #: By position, which never falls from one to the next.
        self._marks: deque[Mark] = deque()

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return any(stretch.count for stretch in self._stretches[self._first :])

    @property
    def home(self) -> Home:
        """The one whose operations are taken next."""
        return self._stretches[self._position()[0]].home

    def bypass(self, entry: Entry) -> None:
        """Note that a new operation goes past the backlog, which is empty."""
        own = self._stretches[-1]
        own.after = own.end = entry.row

    def append(self, entry: Entry) -> None:
        """Put a new operation at the end. One without a body is held here until it has one."""
        own = self._stretches[-1]
        own.count += 1
        own.end = entry.row
        if not entry.body:
            own.preparing[entry.row] = entry

    def prepared(self, entry: Entry) -> None:
        """Note that the body of an operation is there now."""
        del self._stretches[-1].preparing[entry.row]

    def recorded(self, entry: Entry) -> None:
        """Note that an operation is in the journal: from now on nothing else holds it, and its
        receipt only as long as somebody wants that."""
        if entry.receipt is not None:
            self._stretches[-1].receipts[entry.row] = entry.receipt

    def withdraw(self, entry: Entry) -> None:
        """Drop an operation that could not be prepared or recorded."""
        own = self._stretches[-1]
        own.preparing.pop(entry.row, None)
        own.count -= 1
        if not own.count:
            own.after = own.end
        self._reach(self._position())

    def take(self, operations: int, size: int) -> Iterator[Entry]:
        """Take the next ones of one home. Everything appended must have been recorded.

        Parameters:
            operations: at most so many that are in the journal.
            size: no more once they have so many bytes.
        """
        place, _ = self._position()
        stretch = self._stretches[place]
        for stored in stretch.take(operations, size):
            entry = self._entry(stretch, stored)
            if entry is not None:
                self._reach((place, entry.row - 1))
                yield entry
        self._reach(self._position())

    def wait(self, then: Callable[[], None]) -> Mark | None:
        """Call ``then`` when all that is here now has been taken; at once if that is nothing, and
        then there is no mark to return."""
        filled = [place for place, stretch in enumerate(self._stretches) if stretch.count]
        if not filled:
            then()
            return None
        mark = Mark((filled[-1], self._stretches[filled[-1]].end), then)
        self._marks.append(mark)
        return mark

    def drop(self, mark: Mark) -> None:
        """Forget a mark; its callback will not be called."""
        self._marks.remove(mark)

    def receipts(self) -> list[Receipt[Any]]:
        """Those that somebody still holds."""
        own = self._stretches[-1]
        preparing = (entry.receipt for entry in own.preparing.values())
        return [*own.receipts.values(), *(found for found in preparing if found is not None)]

    def _entry(self, stretch: _Stretch, stored: StoredOperation | Entry) -> Entry | None:
        if isinstance(stored, Entry):
            return stored
        entry = read_entry(stretch.home, stored)
        if entry is None:
            self._unreadable(stored)
        else:
            entry.receipt = stretch.receipts.pop(entry.row, None)
        return entry

    def _position(self) -> Position:
        """Up to where everything has been taken."""
        while not self._stretches[self._first].count and self._first < len(self._stretches) - 1:
            self._first += 1
        return self._first, self._stretches[self._first].after

    def _reach(self, position: Position) -> None:
        while self._marks and self._marks[0].position <= position:
            self._marks.popleft().then()


@dataclass(eq=False)
class _Stretch:
    """The part of the backlog in one home: all that waits in the rows behind ``after``.

    Attributes:
        after: the last row that is not in it.
        end: the last row that was ever in it.
        count: operations in it.
        preparing: those whose bodies are still being made, by row.
        receipts: of the others, by row.
    """

    home: Home
    after: int = 0
    end: int = field(init=False)
    count: int = field(init=False)
    preparing: dict[int, Entry] = field(default_factory=dict)
    receipts: WeakValueDictionary[int, Receipt[Any]] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        self.end = self.home.journal.found.last
        self.count = self.home.journal.found.waiting

    def take(self, operations: int, size: int) -> list[StoredOperation | Entry]:
        """The next ones in the order of issue."""
        stored = self.home.journal.waiting(self.after, operations, size)
        full = len(stored) == operations or sum(len(one.body) for one in stored) >= size
        self.after = stored[-1].id if full else self.end
        # What is being prepared takes its place among the others, which need not wait for it.
        rows: dict[int, StoredOperation | Entry] = {one.id: one for one in stored}
        for row in [*takewhile(lambda row: row <= self.after, self.preparing)]:
            rows[row] = self.preparing.pop(row)
        self.count -= len(rows)
        if not self.count:
            # The last rows may be of operations that were withdrawn.
            self.after = self.end
        return [rows[row] for row in sorted(rows)]
