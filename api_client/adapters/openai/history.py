"""What the events of a session say its items are. Pure: no framework, no I/O.

A session's events are a log that only grows. The content of each is one of three:

- a list: these items, each as `carried` has it, were added, at once;
- ``{"op": "pop"}``: the item that was the last one at this place of the log was taken;
- ``{"op": "clear"}``: everything before this place was cleared.

The log's order is the order of commit, so every reader of it comes to the same items, and which
item a pop has taken does not depend on who asks. Events of any other content belong to somebody
else and are passed over. docs/decisions/0023 says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api_client.contract.exact import carried
from api_client.contract.limits import MAX_EVENTS_PER_APPEND
from api_client.contract.records import Event, Session

POP = {"op": "pop"}
CLEAR = {"op": "clear"}
#: The state key that holds the seq of a clear; it comes with that clear. Readers need nothing that
#: is before it. A clear that was in a hurry has none.
CLEARED = "items_cleared_at"


@dataclass(frozen=True)
class Tail:
    """The end of a history.

    Attributes:
        items: the last items, as `carried` has stored them, oldest first.
        whole: whether there are no others.
        last_seq: of the session's last event; 0 if it has none.
        revision: of the session; None if there is no session.
        cleared: the seq of a clear, which need not be the last one; 0 if none is known.
    """

    items: list[Any]
    whole: bool
    last_seq: int
    revision: int | None
    cleared: int

    def reaches(self, wanted: int | None) -> bool:
        """Whether it has ``wanted`` items, or all that there are; None wants all."""
        return self.whole or (wanted is not None and len(self.items) >= wanted)


#: What there is where there is no session.
NOTHING = Tail(items=[], whole=True, last_seq=0, revision=None, cleared=0)


def fold(session: Session, *, after: int = 0, before: int | None = None) -> Tail:
    """The items that the newest events of a session leave.

    Parameters:
        session: loaded with its newest events, as many as the caller liked.
        after: only events with a greater seq were loaded.
        before: fold only events with a smaller seq: what was there just before that event.
    """
    cleared = session.state.get(CLEARED)
    # Whoever reaches the session may set its state.
    if type(cleared) is not int or (before is not None and cleared >= before):
        cleared = 0
    items: list[Any] = []
    met_clear = False
    for event in session.events:
        if before is not None and event.seq >= before:
            break
        content = event.content
        if isinstance(content, list):
            items += content
        elif content == POP:
            # Without an item it took one that is older than what was loaded, or found none.
            del items[-1:]
        elif content == CLEAR:
            items = []
            met_clear = True
    # Seqs are dense: what is loaded from there on is all there is.
    start = session.events[0].seq if session.events else after + 1
    return Tail(
        items=items,
        whole=met_clear or start <= cleared + 1,
        last_seq=session.events[-1].seq if session.events else 0,
        revision=session.revision,
        cleared=cleared,
    )


def events_of(items: Sequence[Any]) -> list[Event]:
    """The events that add ``items``, for one append.

    One event for each item, so that reading the last few reads no more; if they are more than one
    append may have, several items share an event.

    Raises:
        InvalidRequest: an item is nothing that `json.dumps` takes.
    """
    stored = [carried(item, "item") for item in items]
    together = -(-len(stored) // MAX_EVENTS_PER_APPEND)
    groups = [stored[start : start + together] for start in range(0, len(stored), together)]
    return [Event(author=_author(group[0]), content=group) for group in groups]


def _author(item: Any) -> str:
    return "user" if isinstance(item, dict) and item.get("role") == "user" else "agent"
