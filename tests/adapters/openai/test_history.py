"""The fold, against a plain stack: any end of a history tells what it claims to know."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from api_client import Session, SessionKey, StoredEvent
from api_client.adapters.openai.history import CLEAR, CLEARED, POP, events_of, fold
from api_client.contract.records import utc_now

#: A batch of so many items, a pop, a clear whose seq is noted, one whose seq is not, something
#: that belongs to somebody else.
_MOST = 25
_STEPS = st.sampled_from([1, 1, 1, 3, "pop", "pop", "clear", "hurried", "foreign"])


def _log(steps: list[Any]) -> tuple[list[StoredEvent], dict[str, int], list[list[Any]]]:
    """The events of these steps, the state after them, and the items after each."""
    events: list[StoredEvent] = []
    state: dict[str, int] = {}
    stack: list[Any] = []
    history: list[list[Any]] = [[]]
    for seq, step in enumerate(steps, 1):
        content: Any = {"pop": POP, "foreign": {"text": "hello"}}.get(step, CLEAR)
        if isinstance(step, int):
            content = [f"{seq}.{n}" for n in range(step)]
            stack += content
        elif step == "pop":
            del stack[-1:]
        elif step in ("clear", "hurried"):
            stack = []
            state |= {CLEARED: seq} if step == "clear" else {}
        events.append(StoredEvent(author="test", content=content, seq=seq))
        history.append([*stack])
    return events, state, history


def _session(events: list[StoredEvent], state: dict[str, int]) -> Session:
    now = utc_now()
    key = SessionKey("app", "user", "session")
    return Session(key=key, state=state, events=events, revision=1, created_at=now, updated_at=now)


@given(
    steps=st.lists(_STEPS, max_size=_MOST),
    start=st.integers(0, _MOST),
    before=st.none() | st.integers(1, _MOST + 1),
)
@example(steps=[1, "foreign", "clear"], start=1, before=3)
@example(steps=[1, "pop", "pop", 1, 3, "pop"], start=3, before=None)
def test_an_end_of_the_history(steps: list[Any], start: int, before: int | None) -> None:
    events, state, history = _log(steps)
    start = min(start, len(events))
    before = None if before is None else min(before, len(events) + 1)
    expected = history[-1] if before is None else history[before - 1]

    tail = fold(_session(events[start:], state), after=start, before=before)

    if tail.whole:
        assert tail.items == expected
    elif tail.items:
        assert expected[-len(tail.items) :] == tail.items
    for wanted in range(1, 5):
        if tail.reaches(wanted):
            assert tail.items[-wanted:] == expected[-wanted:]
    assert tail.reaches(None) == tail.whole
    if tail.cleared:
        again = fold(_session(events[tail.cleared :], state), after=tail.cleared, before=before)
        assert again.whole
    assert fold(_session(events, state), before=before).whole


def test_a_batch_is_one_append() -> None:
    for count, events in ((1, 1), (1000, 1000), (1001, 501), (2500, 834), (10_000, 1000)):
        made = events_of([{"n": n} for n in range(count)])
        assert len(made) == events
        assert [item["n"] for event in made for item in event.content] == [*range(count)]
