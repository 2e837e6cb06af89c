"""Events read from JSON lines, and put together to appends that keep the limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from api_client.contract.checks import decode_json
from api_client.contract.errors import InvalidRequest, StorageError
from api_client.contract.events import encode_event
from api_client.contract.limits import MAX_EVENTS_PER_APPEND, MAX_OPERATION_BYTES
from api_client.contract.records import Event

#: Half of what an operation may take leaves room for one more event and the key.
_BATCH_BYTES = MAX_OPERATION_BYTES // 2


def read_batches(lines: Iterable[bytes], author: str) -> list[list[Event]]:
    """The events of JSON lines, in batches for one append each. All lines are checked first.

    Parameters:
        lines: one JSON object each, with the fields of `Event`; empty lines are left out.
        author: of events that name none.

    Raises:
        InvalidRequest: a line is not an event; the message says which line.
    """
    batches: list[list[Event]] = [[]]
    size = 0
    for event, length in _read(lines, author):
        full = len(batches[-1]) == MAX_EVENTS_PER_APPEND or size + length > _BATCH_BYTES
        if full and batches[-1]:
            batches.append([])
            size = 0
        batches[-1].append(event)
        size += length
    return batches


def _read(lines: Iterable[bytes], author: str) -> Iterator[tuple[Event, int]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = _event(line, author)
            yield event, len(bytes(encode_event(event)))
        except StorageError as error:
            raise type(error)(
                f"line {number}: {error.message}", field=error.field, limit=error.limit
            ) from None


def _event(line: bytes, author: str) -> Event:
    try:
        fields = decode_json(line.decode(), "event")
    except UnicodeDecodeError:
        raise InvalidRequest("event is not UTF-8", field="event") from None
    if not isinstance(fields, dict):
        raise InvalidRequest(
            """event must be a JSON object, such as {"content": {"text": "hi"}}""", field="event"
        )
    # What `zdk sessions show --json` prints can be appended elsewhere.
    fields.pop("seq", None)
    try:
        return msgspec.convert({"author": author, **fields}, Event)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"event: {error}", field="event") from None
