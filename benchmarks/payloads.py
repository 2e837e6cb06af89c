"""The events that everybody stores: the same text, and a state delta on every fourth."""

from __future__ import annotations

from typing import Any

from api_client import Event

APP = "bench"
USER = "user"
_PROSE = (
    "The invoice of October lists three items, two of which were ordered twice; the supplier has "
    "agreed to take one back, and asks for the number of the order and the day of its arrival. "
    "Shall I write to them today, and to whom? "
)


def text(number: int) -> str:
    """About 250 characters, different for each number."""
    return f"{number:08d} {_PROSE}"


def state_delta(number: int) -> dict[str, Any]:
    """A small one on every fourth event."""
    return {"step": number} if number % 4 == 0 else {}


def event(number: int) -> Event:
    """An event of about 460 bytes of JSON."""
    return Event(
        author="agent",
        content={"role": "model", "parts": [{"text": text(number)}]},
        state_delta=state_delta(number),
        invocation_id=f"e-{number:032d}",
    )


def events(count: int, start: int = 0) -> list[Event]:
    """That many, made before anything is timed."""
    return [event(number) for number in range(start, start + count)]
