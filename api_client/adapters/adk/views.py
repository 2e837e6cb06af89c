"""Sessions as ADK sees them, made of what the client has loaded."""

from __future__ import annotations

from typing import Any

from google.adk.events import Event as AdkEvent
from google.adk.sessions import Session as AdkSession

from api_client.adapters.adk.events import all_to_adk, to_adk
from api_client.contract.exact import restored_state
from api_client.contract.records import Session, SessionSummary, StoredEvent

_REVISION = "revision "


def to_session(loaded: Session, events: list[StoredEvent], newest: Session) -> AdkSession:
    """ADK's session.

    Parameters:
        loaded: gives its state and its revision.
        events: those that it shall have.
        newest: the same session, loaded with its last event.
    """
    return _session(loaded, all_to_adk(events), last_update_time(newest))


def to_listed_session(summary: SessionSummary) -> AdkSession:
    """ADK's session for an entry of a listing: with its merged state, without events."""
    return _session(summary, [], (summary.last_event_at or summary.updated_at).timestamp())


def last_update_time(loaded: Session) -> float:
    """As ADK has it, the timestamp of a session's last event, which ``loaded`` must include; of a
    session without events, the store's time of its creation or of the last change of its state."""
    if not loaded.events:
        return loaded.updated_at.timestamp()
    # ADK's event has it to the last bit, ours to the microsecond.
    return float(to_adk(loaded.events[-1]).timestamp)


def revision_seen(session: AdkSession) -> int | None:
    """The session's revision as far as this holder knows its events; None if it never came from
    this service."""
    marker = getattr(session, "_storage_update_marker", None) or ""
    return int(marker.removeprefix(_REVISION)) if marker.startswith(_REVISION) else None


def set_revision_seen(session: AdkSession, revision: int) -> None:
    """Note how far the holder of ``session`` knows it."""
    session._storage_update_marker = f"{_REVISION}{revision}"


def _session(found: Session | SessionSummary, events: list[AdkEvent], updated: float) -> AdkSession:
    state: dict[str, Any] = restored_state(found.state or {})
    session = AdkSession(
        app_name=found.key.app,
        user_id=found.key.user,
        id=found.key.session,
        state=state,
        events=events,
        last_update_time=updated,
    )
    set_revision_seen(session, found.revision)
    return session
