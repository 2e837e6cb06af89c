"""A row of ADK's ``events`` table as our event. Pure; google-adk need not be installed.

The table's ``event_data`` is ADK's event as JSON, and so is the content of the events that the
adapter stores (``api_client/adapters/adk/events.py``): both must make the same of an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from api_client.contract.errors import InvalidRequest
from api_client.contract.exact import carried, carried_state, label
from api_client.contract.records import Event

#: The author of an event whose own is empty, which the store does not take.
_NOBODY = "unknown"


@dataclass(frozen=True)
class EventRow:
    """What ADK keeps of an event.

    Attributes:
        id, invocation_id: as in their columns.
        timestamp: POSIX seconds, of the column.
        data: the event as JSON; its own timestamp is preferred to the column's, as ADK does it.
    """

    id: str
    invocation_id: str
    timestamp: float
    data: Mapping[str, Any]


def event_of(row: EventRow) -> Event:
    """Our event for a row of ADK's.

    Raises:
        InvalidRequest: the store cannot take it.
    """
    event_id = label(row.id)
    if event_id is None:
        raise InvalidRequest("id must not be empty", field="id")
    timestamp = row.data.get("timestamp")
    content = {
        **row.data,
        "id": row.id,
        "invocation_id": row.invocation_id,
        "timestamp": row.timestamp if timestamp is None else timestamp,
    }
    actions = dict(_object(content.get("actions"), "actions"))
    delta = _object(actions.pop("state_delta", None), "state_delta")
    content["actions"] = actions
    if content.get("partial"):
        raise InvalidRequest("a partial event is not stored", field="partial")
    return Event(
        id=event_id,
        author=_author(content),
        content=carried(content, "content"),
        state_delta=carried_state(delta, "state_delta"),
        timestamp=_datetime(content["timestamp"]),
        invocation_id=label(row.invocation_id),
    )


def _author(content: Mapping[str, Any]) -> str:
    author = content.get("author")
    return (label(author) if isinstance(author, str) else None) or _NOBODY


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{field} must be an object", field=field)
    return value


def _datetime(timestamp: Any) -> datetime:
    try:
        return datetime.fromtimestamp(timestamp, timezone.utc)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InvalidRequest("timestamp is not a point in time", field="timestamp") from None
