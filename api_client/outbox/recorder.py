"""Makes a turn's changes last: one transaction in each journal that they concern."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from api_client.outbox.changes import Changes
from api_client.outbox.homes import Home

log = logging.getLogger(__name__)

#: Seconds to pause after a journal could not be written or read.
_PAUSE = 1.0
#: Seconds for which confirmations wait for something else that is to be recorded, and how many
#: messages wait at most. Should they be lost, those messages are sent again, which is harmless.
_LINGER = 0.1
_MOST_LINGERING = 8


@dataclass(frozen=True)
class Recorded:
    """What became of the changes to one home: they last, or ``error`` says why not."""

    home: Home
    changes: Changes
    error: Exception | None = None


class Recorder:
    """Gathers changes, and commits them.

    Attributes:
        changes: what is to be recorded next.
        resumes_at: when to try again after a failure, on the pump's clock.
    """

    def __init__(self) -> None:
        self.changes = Changes()
        self.resumes_at = float("-inf")
        self._in_trouble: set[Home] = set()
        self._lingers_until: float | None = None

    def next_due(self) -> float | None:
        """When there will be something to commit, if nothing else happens."""
        return self._lingers_until

    def commit(self, now: float, *, at_once: bool = False) -> list[Recorded]:
        """Record what was gathered; what could not be is no longer gathered.

        Parameters:
            at_once: also confirmations that could wait for a moment.
        """
        if not at_once and self._can_wait(now):
            return []
        self._lingers_until = None
        changes, self.changes = self.changes, Changes()
        found = []
        for home in changes.homes:
            assert isinstance(home, Home)
            part = changes.of(home)
            try:
                home.journal.commit(part)
            except Exception as error:
                self.failed(home, error, now)
                found.append(Recorded(home, part, error))
            else:
                self._succeeded(home)
                found.append(Recorded(home, part))
        return found

    def failed(self, home: Home, error: Exception, now: float) -> None:
        """Note that a journal could not be used; say so if that is news."""
        self.resumes_at = now + _PAUSE
        if home not in self._in_trouble:
            self._in_trouble.add(home)
            log.error(
                "the outbox %s cannot be used: %s; new operations are refused until it can, "
                "those accepted before wait",
                home.journal.name,
                # Not the error, whose traceback leads to all that is in memory.
                str(error),
            )

    def _can_wait(self, now: float) -> bool:
        """Whether there is nothing but a few confirmations, which came just now."""
        changes = self.changes
        if changes.added or changes.packed or changes.dropped or not changes.confirmed:
            return False
        if self._lingers_until is None:
            self._lingers_until = now + _LINGER
        return now < self._lingers_until and len(changes.confirmed) < _MOST_LINGERING

    def _succeeded(self, home: Home) -> None:
        if home in self._in_trouble:
            self._in_trouble.remove(home)
            log.warning("the outbox %s can be used again", home.journal.name)
