"""What one turn of the outbox changes in a journal."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from api_client.outbox.entries import Dispatch, Entry


@dataclass
class Changes:
    """What is to be recorded.

    Attributes:
        added: operations that are new.
        packed: messages made of operations, new ones or not.
        confirmed: messages that are done.
        dropped: operations, not new ones, that cannot be sent.
    """

    added: list[Entry] = field(default_factory=list)
    packed: list[Dispatch] = field(default_factory=list)
    confirmed: list[Dispatch] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)

    @property
    def homes(self) -> list[Hashable]:
        """Where something changes."""
        first = (dispatch.entries[0] for dispatch in (*self.packed, *self.confirmed))
        return [*dict.fromkeys(e.home for e in (*self.added, *self.dropped, *first))]

    def of(self, home: Hashable) -> Changes:
        """Those that concern one home."""
        return Changes(
            [entry for entry in self.added if entry.home is home],
            [dispatch for dispatch in self.packed if dispatch.entries[0].home is home],
            [dispatch for dispatch in self.confirmed if dispatch.entries[0].home is home],
            [entry for entry in self.dropped if entry.home is home],
        )
