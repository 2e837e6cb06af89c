"""The client's methods for sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

import msgspec

from api_client.contract import codec
from api_client.contract.checks import (
    check_count,
    check_page,
    check_state_keys,
    check_text,
    check_time,
    encode_json,
)
from api_client.contract.errors import Conflict, InvalidRequest, StorageError
from api_client.contract.events import check_batch, check_disjoint, encode_event, in_event
from api_client.contract.keys import SessionKey, check_session_key
from api_client.contract.limits import MAX_STATE_BYTES
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteSession,
    ListSessions,
    LoadSession,
    LoadSharedState,
    Order,
    UpdateState,
)
from api_client.contract.ordering import app_ordering, session_ordering, user_ordering
from api_client.contract.outcomes import (
    EventsAppended,
    SessionCreated,
    SessionDeleted,
    SessionReply,
    StateUpdated,
)
from api_client.contract.records import Event, Page, Session, SessionSummary, StoredEvent
from api_client.contract.scopes import is_temporary
from api_client.receipts import Receipt
from api_client.requests import Requests, on, within


class Sessions:
    """Create, load, append, list, delete, update_state, shared_state. Reached as
    ``client.sessions``.

    Every method checks its arguments at once and returns a `Receipt`. All of them raise
    `InvalidRequest` (or `TooLarge`) that names the field and the limit; those that write raise
    `OutboxFull` when there is no room, and `Unavailable` when the client is closed.
    """

    def __init__(self, requests: Requests):
        self._requests = requests

    def create(
        self, key: SessionKey, state: Mapping[str, Any] | None = None
    ) -> Receipt[SessionCreated]:
        """Create a session.

        Parameters:
            key: see `SessionKey`; `SessionKey.new` makes one with a fresh id.
            state: its initial state; ``app:`` and ``user:`` keys are set for the app and the
                user, ``temp:`` keys are dropped. At most `MAX_STATE_BYTES` as JSON.

        The receipt fails with `AlreadyExists` if there is such a session.
        """
        check_session_key(key)
        encoded = _encode_state(state or {}, "state")
        return self._requests.write(CreateSession(key=key, state=encoded), _decoder(SessionCreated))

    def append(
        self,
        key: SessionKey,
        events: Event | Sequence[Event],
        *,
        expected_revision: int | None = None,
    ) -> Receipt[EventsAppended]:
        """Append one event, or several that are applied together, with their state deltas.

        Parameters:
            events: at most `MAX_EVENTS_PER_APPEND`, each at most `MAX_EVENT_BYTES` as JSON.
                Partial ones are not stored.
            expected_revision: apply only if the session is at this revision.

        The receipt fails with `NotFound` if there is no such session, and with `Conflict` if it
        is at another revision. An event id that the session has seen is answered as a duplicate.
        """
        check_session_key(key)
        if expected_revision is not None:
            check_count(expected_revision, "expected_revision")
        batch = [events] if isinstance(events, Event) else _as_list(events)
        check_batch(len(batch))
        encoded = [_encode_one(event, index) for index, event in enumerate(batch)]
        stored = [raw for raw, event in zip(encoded, batch, strict=True) if not event.partial]
        if not stored:
            receipt: Receipt[EventsAppended] = self._requests.receipt()
            receipt.succeed(EventsAppended(None, []))
            return receipt
        operation = AppendEvents(key=key, events=stored, expected_revision=expected_revision)
        state_keys = [name for e in batch for name in (*e.state_delta, *e.state_delete)]
        return self._requests.write(operation, _APPENDED, state_keys)

    def update_state(
        self, key: SessionKey, delta: Mapping[str, Any] | None = None, *, delete: Sequence[str] = ()
    ) -> Receipt[StateUpdated]:
        """Set and delete state keys without an event.

        Parameters:
            delta: keys to set; None is a value. At most `MAX_STATE_BYTES` as JSON.
            delete: keys to remove; one that is not there is no error.

        The receipt fails with `NotFound` if there is no such session.
        """
        check_session_key(key)
        encoded = _encode_state(delta or {}, "delta")
        names = _as_list(delete, "delete")
        check_state_keys(names, "delete")
        check_disjoint(encoded, names, "delete")
        if not delta and not names:
            raise InvalidRequest("delta and delete are both empty", field="delta")
        if not encoded and not names:
            # Temporary keys alone: the session must exist all the same, and nothing changes.
            names = [*(delta or ())]
        operation = UpdateState(key=key, delta=encoded, delete=names)
        return self._requests.write(operation, _decoder(StateUpdated))

    def delete(self, key: SessionKey) -> Receipt[SessionDeleted]:
        """Delete a session with its events and its own state. App and user state stay, and so do
        artifacts. The receipt fails with `NotFound` if there is no such session."""
        check_session_key(key)
        return self._requests.write(DeleteSession(key=key), _decoder(SessionDeleted))

    def load(
        self,
        key: SessionKey,
        *,
        last: int | None = None,
        after_seq: int = 0,
        after_time: datetime | None = None,
        events: bool = True,
    ) -> Receipt[Session]:
        """Load a session: its merged state, and the events that pass every given bound.

        This client's own earlier writes on the session are waited for.

        Parameters:
            last: at most this many events, the newest.
            after_seq: only events with a greater seq.
            after_time: only events whose own timestamp is later.
            events: False for the state only.

        The receipt fails with `NotFound` if there is no such session, and with `Unavailable` if
        no reply comes within the client's ``read_timeout``.
        """
        check_session_key(key)
        if last is not None:
            check_count(last, "last")
        check_count(after_seq, "after_seq")
        if after_time is not None:
            check_time(after_time, "after_time")
            after_time = after_time.astimezone(timezone.utc)
        query = LoadSession(
            key=key, events=bool(events), last=last, after_seq=after_seq, after_time=after_time
        )
        assembly = _Assembly(query)
        after = on(session_ordering(key), user_ordering(key.app, key.user), app_ordering(key.app))
        return self._requests.read_on(query, after, SessionReply, assembly.add, assembly.session)

    def shared_state(self, app: str, user: str) -> Receipt[dict[str, Any]]:
        """Load what all sessions of a user share, whether there is one or not: the state of the
        app and of the user, with prefixes.

        This client's own earlier writes of that state are waited for.
        """
        check_text(app, "app")
        check_text(user, "user")
        query = LoadSharedState(app=app, user=user)
        after = on(user_ordering(app, user), app_ordering(app))
        return self._requests.read(query, after, _decoder(dict[str, Any]))

    def list(
        self,
        app: str,
        user: str | None = None,
        *,
        order: Order = "newest",
        limit: int = 100,
        cursor: str | None = None,
        state: bool = False,
    ) -> Receipt[Page[SessionSummary]]:
        """List the sessions of an app, or of one of its users, page by page.

        Parameters:
            order: ``newest`` or ``oldest`` created first.
            limit: at most this many, from 1 to `MAX_PAGE_SIZE`.
            cursor: the ``next_cursor`` of the page before.
            state: whether to give each session's merged state.
        """
        check_text(app, "app")
        if user is not None:
            check_text(user, "user")
        check_page(limit, cursor)
        if order not in ("newest", "oldest"):
            raise InvalidRequest("order must be 'newest' or 'oldest'", field="order")
        query = ListSessions(
            app=app, user=user, order=order, limit=limit, cursor=cursor, state=bool(state)
        )
        return self._requests.read(query, within(app, user), _decoder(Page[SessionSummary]))


def _decoder(kind: Any) -> Any:
    return partial(codec.decode, kind=kind)


#: One for all appends, of which there are many.
_APPENDED = _decoder(EventsAppended)


class _Assembly:
    """Puts a session together from one or more replies, the newest events first."""

    def __init__(self, query: LoadSession):
        self._query = query
        self._first: SessionReply | None = None
        self._parts: list[list[StoredEvent]] = []
        self._count = 0

    def add(self, reply: SessionReply) -> LoadSession | None:
        """Take a reply; return the query for the events before it, if any are missing."""
        if self._first is None:
            self._first = reply
        elif reply.created_at != self._first.created_at:
            raise Conflict("the session was deleted and created again while it was loaded")
        part = reply.events
        self._parts.append(part)
        self._count += len(part)
        if not reply.more or not part:
            return None
        last = None if self._query.last is None else self._query.last - self._count
        return msgspec.structs.replace(self._query, before_seq=part[0].seq, last=last)

    def session(self) -> Session:
        """The whole, as of the first reply."""
        assert self._first is not None
        return Session(
            key=self._first.key,
            state=self._first.state,
            events=[event for part in reversed(self._parts) for event in part],
            revision=self._first.revision,
            created_at=self._first.created_at,
            updated_at=self._first.updated_at,
        )


def _as_list(values: Sequence[Any], field: str = "events") -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidRequest(f"{field} must be a list, not {type(values).__name__}", field=field)
    return [*values]


def _encode_one(event: Event, index: int) -> msgspec.Raw:
    try:
        return encode_event(event)
    except StorageError as error:
        raise in_event(error, index) from None


def _encode_state(state: Mapping[str, Any], field: str) -> dict[str, msgspec.Raw]:
    if not isinstance(state, Mapping):
        raise InvalidRequest(f"{field} must be a dict, not {type(state).__name__}", field=field)
    check_state_keys(state, field)
    kept = {name: value for name, value in state.items() if not is_temporary(name)}
    return codec.decode(encode_json(kept, field, MAX_STATE_BYTES), dict[str, msgspec.Raw])
