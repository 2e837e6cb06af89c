"""What the worker's parts tell of their work to whoever counts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api_client.contract.errors import ErrorRecord
from worker.dead_letters import Failure
from worker.ledger import Entry
from worker.work import Work


class Watch:
    """Told once for each message or transaction, never for each operation. This one ignores it."""

    def applied(self, seconds: float) -> None:
        """Messages that came together have been applied.

        Parameters:
            seconds: from their coming to their replies, new tries included.
        """

    def committed(
        self,
        works: Sequence[Work],
        entries: Mapping[str, Entry],
        failures: Sequence[Failure],
        seconds: float,
    ) -> None:
        """A transaction has been committed.

        Parameters:
            works: the messages in it.
            entries: what the ledger has of each; those that were applied before are `Entry.known`.
            failures: what failed in the others.
            seconds: that the COMMIT itself took.
        """

    def known(self, works: Sequence[Work]) -> None:
        """Messages with artifacts were found in the ledger before anything was done."""

    def missing(self, messages: int) -> None:
        """So many messages were not applied, because their staged bytes are not there."""

    def gave_up(self, operations: int) -> None:
        """A message with so many operations was given up."""

    def refused(self) -> None:
        """A message that is none of ours was kept as a dead letter."""

    def answered(self, error: ErrorRecord | None) -> None:
        """A query has its reply; ``error`` is its error, if it has one."""

    def tries_again(self) -> None:
        """Passing trouble was met, and what was being done is tried again after a pause."""


class Watches(Watch):
    """Tells several of them."""

    def __init__(self, *all_of_them: Watch):
        self._all = all_of_them

    def applied(self, seconds: float) -> None:
        """See `Watch.applied`."""
        for watch in self._all:
            watch.applied(seconds)

    def committed(
        self,
        works: Sequence[Work],
        entries: Mapping[str, Entry],
        failures: Sequence[Failure],
        seconds: float,
    ) -> None:
        """See `Watch.committed`."""
        for watch in self._all:
            watch.committed(works, entries, failures, seconds)

    def known(self, works: Sequence[Work]) -> None:
        """See `Watch.known`."""
        for watch in self._all:
            watch.known(works)

    def missing(self, messages: int) -> None:
        """See `Watch.missing`."""
        for watch in self._all:
            watch.missing(messages)

    def gave_up(self, operations: int) -> None:
        """See `Watch.gave_up`."""
        for watch in self._all:
            watch.gave_up(operations)

    def refused(self) -> None:
        """See `Watch.refused`."""
        for watch in self._all:
            watch.refused()

    def answered(self, error: ErrorRecord | None) -> None:
        """See `Watch.answered`."""
        for watch in self._all:
            watch.answered(error)

    def tries_again(self) -> None:
        """See `Watch.tries_again`."""
        for watch in self._all:
            watch.tries_again()
