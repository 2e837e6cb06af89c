"""What an import has done, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: Failures, and differences, that a summary holds; all of them are counted.
MAX_NAMED = 1000


@dataclass(frozen=True)
class Finding:
    """A row that could not be brought over, or what differs here.

    Attributes:
        where: the app, user, session and event, as far as it is known, with ``/`` between them.
        message: what is wrong with it, for people. Values are never part of it.
    """

    where: str
    message: str


@dataclass
class Summary:
    """What an import has done; of a dry run, what it would have done.

    Attributes:
        sessions, events: that were found in the other database.
        new_sessions, new_events: of these, brought over now.
        new_state: keys of apps and users brought over now.
        orphans: events that belong to no session, and that ADK does not show either.
        failed: rows that could not be brought over.
        failures: the first `MAX_NAMED` of them.
        verified: sessions compared with what is here now.
        gone_on: of these, such as have events here that the other database does not have.
        different: what is not the same here.
        differences: the first `MAX_NAMED` of them.
        seconds: how long it took.
    """

    sessions: int = 0
    events: int = 0
    new_sessions: int = 0
    new_events: int = 0
    new_state: int = 0
    orphans: int = 0
    failed: int = 0
    failures: list[Finding] = field(default_factory=list)
    verified: int = 0
    gone_on: int = 0
    different: int = 0
    differences: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, where: str, error: object) -> None:
        """Count a row that could not be brought over."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED:
            self.failures.append(Finding(where, str(error)))

    def differ(self, where: str, message: str) -> None:
        """Count a difference."""
        self.different += 1
        if len(self.differences) < MAX_NAMED:
            self.differences.append(Finding(where, message))


#: Called with the events that were read since it was last called.
OnProgress = Callable[[int], None]
