"""Events as JSON: how the client writes them, how the worker reads only what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

import msgspec

from api_client.contract.checks import (
    check_json,
    check_raw,
    check_raw_values,
    check_size,
    check_state_keys,
    check_text,
    check_time,
    json_encoder,
)
from api_client.contract.errors import InvalidRequest, StorageError
from api_client.contract.limits import MAX_EVENT_BYTES, MAX_EVENTS_PER_APPEND
from api_client.contract.records import Event
from api_client.contract.scopes import is_temporary


class EventEnvelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event as the worker sees it: what belongs to the caller stays unparsed."""

    id: str
    author: str
    timestamp: datetime
    content: msgspec.Raw = msgspec.Raw(b"null")
    state_delta: dict[str, msgspec.Raw] = {}
    state_delete: list[str] = []
    invocation_id: str | None = None
    partial: bool = False


_envelope_decoder = msgspec.json.Decoder(EventEnvelope)
_event_decoder = msgspec.json.Decoder(Event)


def check_event(event: Event | EventEnvelope) -> None:
    """Refuse an event whose fields break the contract; its JSON values are checked elsewhere."""
    check_text(event.id, "id")
    check_text(event.author, "author")
    check_time(event.timestamp, "timestamp")
    if event.invocation_id is not None:
        check_text(event.invocation_id, "invocation_id")
    check_state_keys(event.state_delta, "state_delta")
    check_state_keys(event.state_delete, "state_delete")
    check_disjoint(event.state_delta, event.state_delete, "state_delete")


def check_disjoint(delta: Mapping[str, object], delete: list[str], field: str) -> None:
    """Refuse a state key that is both set and deleted."""
    for name in delete:
        if name in delta:
            raise InvalidRequest(f"{field} names {name!r}, which is also set", field=field)


def encode_event(event: Event) -> msgspec.Raw:
    """``event`` as JSON, checked, without ``seq`` and without ``temp:`` keys.

    Raises:
        InvalidRequest: a field breaks the contract.
        TooLarge: the JSON exceeds `MAX_EVENT_BYTES`.
    """
    if not isinstance(event, Event):
        raise InvalidRequest(f"an event must be an Event, not {type(event).__name__}")
    _check_containers(event)
    check_event(event)
    check_json(event.content, "content")
    check_json(event.state_delta, "state_delta")
    plain = _as_stored(event)
    try:
        encoded = json_encoder.encode(plain)
    except UnicodeEncodeError:
        raise InvalidRequest(
            "content or state_delta contains a lone surrogate, which has no UTF-8 form",
            field="content",
        ) from None
    check_size(len(encoded), "event", MAX_EVENT_BYTES)
    return msgspec.Raw(encoded)


def decode_event(raw: msgspec.Raw) -> EventEnvelope:
    """The envelope of an event's JSON, checked.

    Raises:
        InvalidRequest: it is not an event, or a field breaks the contract.
        TooLarge: it exceeds `MAX_EVENT_BYTES`.
    """
    check_size(len(bytes(raw)), "event", MAX_EVENT_BYTES)
    try:
        envelope = _envelope_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"event: {error}", field="event") from None
    check_event(envelope)
    check_raw(envelope.content, "content")
    check_raw_values(envelope.state_delta, "state_delta")
    return envelope


def strip_temporary(raw: msgspec.Raw, envelope: EventEnvelope) -> msgspec.Raw:
    """The event's JSON without ``temp:`` keys; the same object if it has none."""
    if not any(map(is_temporary, [*envelope.state_delta, *envelope.state_delete])):
        return raw
    return msgspec.Raw(json_encoder.encode(_as_stored(_event_decoder.decode(raw))))


def stored_event(seq: int, payload: str) -> str:
    """The JSON of a stored event from its place and the JSON it was appended as.

    The payload is known to be an object with at least an id, so the new member can be spliced in
    after its brace; parsing and encoding it again would double the cost of a load.
    """
    return f'{{"seq":{seq},{payload[1:]}'


def check_batch(count: int) -> None:
    """Refuse an append of no events or of more than `MAX_EVENTS_PER_APPEND`."""
    if count == 0:
        raise InvalidRequest("events must not be empty", field="events")
    if count > MAX_EVENTS_PER_APPEND:
        raise InvalidRequest(
            f"events has {count} entries; the limit is {MAX_EVENTS_PER_APPEND}",
            field="events",
            limit=MAX_EVENTS_PER_APPEND,
        )


def in_event(error: StorageError, index: int) -> StorageError:
    """``error`` with its field named as part of the event at ``index``."""
    field = f"events[{index}].{error.field}" if error.field else f"events[{index}]"
    return type(error)(f"events[{index}]: {error.message}", field=field, limit=error.limit)


def _check_containers(event: Event) -> None:
    for field, kind in (("state_delta", dict), ("state_delete", list), ("partial", bool)):
        value = getattr(event, field)
        if not isinstance(value, kind):
            raise InvalidRequest(
                f"{field} must be a {kind.__name__}, not {type(value).__name__}", field=field
            )


def _as_stored(event: Event) -> Event:
    temporary = any(map(is_temporary, [*event.state_delta, *event.state_delete]))
    if not temporary and type(event) is Event and event.timestamp.tzinfo is timezone.utc:
        return event
    return Event(
        id=event.id,
        author=event.author,
        content=event.content,
        state_delta={k: v for k, v in event.state_delta.items() if not is_temporary(k)},
        state_delete=[k for k in event.state_delete if not is_temporary(k)],
        # RFC 3339 has zones in whole minutes only; the instant is what counts.
        timestamp=event.timestamp.astimezone(timezone.utc),
        invocation_id=event.invocation_id,
        partial=event.partial,
    )
