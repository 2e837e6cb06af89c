"""What a worker makes of a message before it touches the database."""

from __future__ import annotations

import msgspec

from api_client.contract.codec import Message, encode_operation
from api_client.contract.errors import TooLarge
from api_client.contract.events import encode_event
from api_client.contract.keys import SessionKey
from api_client.contract.limits import MAX_EVENTS_PER_APPEND, MAX_EVENTS_PER_MESSAGE
from api_client.contract.operations import AppendEvents, DeleteSession
from api_client.contract.records import Event, new_id
from worker.sessions.evaluate import DecodedAppend
from worker.work import Work

KEY = SessionKey("app", "user", "session")


def test_events_beyond_the_limit_of_a_message_are_refused_and_the_others_kept() -> None:
    events = [encode_event(Event(author="a")) for _ in range(MAX_EVENTS_PER_APPEND)]
    append = msgspec.Raw(encode_operation(AppendEvents(key=KEY, events=events)))
    delete = msgspec.Raw(encode_operation(DeleteSession(key=KEY)))
    full = MAX_EVENTS_PER_MESSAGE // MAX_EVENTS_PER_APPEND
    work = Work.of(Message(id=new_id(), operations=[*[append] * (full + 1), delete]))
    *within, beyond, other = work.decoded
    assert all(isinstance(operation, DecodedAppend) for operation in within)
    assert isinstance(beyond, TooLarge)
    assert (beyond.field, beyond.limit) == ("operations", MAX_EVENTS_PER_MESSAGE)
    assert isinstance(other, DeleteSession)
