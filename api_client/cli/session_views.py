"""Sessions as people see them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from api_client.cli.tables import compact, facts, listing, local_time
from api_client.contract.records import Event, Session, SessionSummary


def sessions_table(sessions: list[SessionSummary]) -> RenderableType:
    """A listing's sessions, with their state if it was asked for."""
    return listing(
        {
            "Session": "key",
            "User": "key",
            "Revision": "number",
            "Updated": "word",
            "State": "text",
        },
        (
            [
                session.key.session,
                session.key.user,
                str(session.revision),
                local_time(session.updated_at),
                "" if session.state is None else compact(session.state),
            ]
            for session in sessions
        ),
    )


def session_view(session: Session, *, with_events: bool) -> RenderableType:
    """One session, whole."""
    parts: list[RenderableType] = [
        facts(
            {
                "Session": session.key.session,
                "User": session.key.user,
                "App": session.key.app,
                "Revision": str(session.revision),
                "Created": local_time(session.created_at),
                "Updated": local_time(session.updated_at),
            }
        ),
        *_section("State", session.state and facts(_as_facts(session.state))),
    ]
    if with_events:
        parts += _section("Events", session.events and _events_table(session))
    return Group(*parts)


def count_events(count: int) -> str:
    """A number of events in words."""
    return "1 event" if count == 1 else f"{count:,} events"


def _section(title: str, content: Any) -> list[RenderableType]:
    return [Text(), Text(title, style="bold underline"), content or Text("none", style="dim")]


def _as_facts(state: dict[str, Any]) -> dict[str, str]:
    return {name: compact(value) for name, value in sorted(state.items())}


def _events_table(session: Session) -> RenderableType:
    return listing(
        {"Seq": "number", "Time": "word", "Author": "key", "Content": "text", "State": "text"},
        (
            [
                str(event.seq),
                local_time(event.timestamp),
                event.author,
                _content(event.content),
                _changes(event),
            ]
            for event in session.events
        ),
    )


def _content(content: Any) -> str:
    """What was said, if that is all there is; else JSON."""
    match content:
        case None:
            return ""
        case str(text):
            return text
        case {"text": str(text), **rest} if not rest:
            return text
        case _:
            return compact(content)


def _changes(event: Event) -> str:
    changes = [f"{name}={compact(value)}" for name, value in event.state_delta.items()]
    return " ".join([*changes, *(f"-{name}" for name in event.state_delete)])
