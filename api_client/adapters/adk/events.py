"""ADK's events as ours, and back.

ADK's event goes into our event's ``content`` whole, as the JSON that ADK itself would store, and
comes back equal, field by field. Only its state delta is kept beside it, where the store applies
it. ``id``, ``author``, ``timestamp`` and ``invocation_id`` are set as well, for those who look at
sessions without ADK.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from google.adk.events import Event as AdkEvent
from google.adk.events import EventActions
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from api_client.adapters.adk.collection import collection_held_off
from api_client.adapters.adk.jsonable import jsonable
from api_client.adapters.adk.rebuild import rebuild
from api_client.contract.errors import InvalidRequest
from api_client.contract.exact import carried, carried_state, label, restored, restored_state
from api_client.contract.records import Event, StoredEvent

log = logging.getLogger(__name__)

#: The author of an event whose own is empty, which the store does not take.
_NOBODY = "unknown"


def from_adk(event: AdkEvent) -> Event:
    """Our event for an event of ADK's.

    Its id is that of ``event``, or a hash of it if the store does not take it (more than 256
    bytes, NUL, a lone surrogate). `StorageClient` drops ``temp:`` keys from its state delta.

    Raises:
        InvalidRequest: a field has no JSON form, the timestamp is none, or the id is empty.
    """
    content = _content(event)
    delta = content["actions"].pop("state_delta")
    event_id = label(event.id)
    if event_id is None:
        raise InvalidRequest("id must not be empty", field="id")
    return Event(
        id=event_id,
        author=label(event.author) or _NOBODY,
        content=carried(content, "content"),
        state_delta=carried_state(delta, "state_delta"),
        timestamp=to_datetime(event.timestamp, "timestamp"),
        invocation_id=label(event.invocation_id),
        partial=bool(event.partial),
    )


def to_adk(stored: StoredEvent | Event) -> AdkEvent:
    """ADK's event for one of ours.

    An event that did not come from ADK is shown with its id, author, time and state delta, and
    with its content as ``custom_metadata["content"]``. Fields that a later release of ADK has
    written and this one refuses are left out here, with a warning; they stay in the store.
    """
    content = restored(stored.content)
    delta = restored_state(stored.state_delta)
    if not _is_of_adk(content):
        return _foreign(stored, content, delta)
    whole = {**content, "actions": {**content["actions"], "state_delta": delta}}
    try:
        return rebuild(AdkEvent, whole)
    except ValidationError:
        return _as_far_as_known(whole)


def all_to_adk(stored: Sequence[StoredEvent]) -> list[AdkEvent]:
    """ADK's events for ours, as `to_adk` makes them."""
    with collection_held_off():
        return [to_adk(event) for event in stored]


def is_same(one: AdkEvent, other: AdkEvent) -> bool:
    """Whether two events of one id are the same, though perhaps made anew, at another time."""
    first = from_adk(one.model_copy(update={"timestamp": other.timestamp}))
    second = from_adk(other)
    return first.content == second.content and first.state_delta == second.state_delta


def to_datetime(timestamp: float, field: str) -> datetime:
    """ADK's POSIX timestamp as a datetime in UTC, to the microsecond.

    Raises:
        InvalidRequest: no datetime can hold it.
    """
    try:
        return datetime.fromtimestamp(timestamp, timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidRequest(f"{field} is not a point in time: {error}", field=field) from None


def _content(event: AdkEvent) -> dict[str, Any]:
    """The event as JSON in Python's sense, as ADK writes it, or without loss where that has any."""
    try:
        if _keeps_all(event):
            dumped: dict[str, Any] = event.model_dump(mode="json", exclude_none=True)
        else:
            dumped = jsonable(event.model_dump(exclude_none=True))
        if event.actions.requested_auth_configs:
            # By the names of its fields, as ADK writes it, a scheme comes back as another one.
            schemes = to_jsonable_python(event.actions.requested_auth_configs, exclude_none=True)
            dumped["actions"]["requested_auth_configs"] = schemes
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest(f"event has no JSON form: {error}", field="event") from error
    return dumped


def _keeps_all(event: AdkEvent) -> bool:
    """Whether pydantic's JSON mode loses nothing. It turns numbers that are not finite into null,
    and lone surrogates in keys into replacement characters; this finds either."""
    try:
        text = json.dumps(
            event.model_dump(exclude_none=True),
            ensure_ascii=False,
            allow_nan=False,
            default=lambda _: None,
            skipkeys=True,
        )
        text.encode()
    except ValueError:
        return False
    return True


def _is_of_adk(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("actions"), dict):
        return False
    return bool(content.get("id")) and "timestamp" in content


def _foreign(stored: Event, content: Any, delta: dict[str, Any]) -> AdkEvent:
    return AdkEvent(
        id=stored.id,
        author=stored.author,
        invocation_id=stored.invocation_id or "",
        timestamp=stored.timestamp.timestamp(),
        actions=EventActions(state_delta=delta),
        custom_metadata={"content": content},
    )


def _as_far_as_known(content: dict[str, Any]) -> AdkEvent:
    """The event without the fields that are refused for being unknown.

    Raises:
        pydantic.ValidationError: something else is wrong too.
    """
    known = copy.deepcopy(content)
    try:
        return AdkEvent.model_validate(known)
    except ValidationError as error:
        for found in error.errors(include_input=False, include_url=False):
            if found["type"] != "extra_forbidden" or not _remove(known, found["loc"]):
                raise
            place = ".".join(map(str, found["loc"]))
            log.warning("this release of google-adk does not know the event field %s", place)
    return AdkEvent.model_validate(known)


def _remove(tree: Any, place: Sequence[int | str]) -> bool:
    """Remove what is at ``place``. False if there is nothing."""
    try:
        for step in place[:-1]:
            tree = tree[step]
        del tree[place[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True
