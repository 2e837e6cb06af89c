"""The session of openai-agents, kept by a `StorageClient`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents import RunContextWrapper, SessionSettings, TResponseInputItem

from api_client.adapters.ack import Ack, check_ack
from api_client.adapters.openai.history import (
    CLEAR,
    CLEARED,
    NOTHING,
    POP,
    Tail,
    events_of,
    fold,
)
from api_client.client import StorageClient
from api_client.contract.checks import check_count
from api_client.contract.errors import Conflict, InvalidRequest, NotFound
from api_client.contract.exact import restored
from api_client.contract.keys import SessionKey
from api_client.contract.outcomes import EventsAppended
from api_client.contract.records import Event
from api_client.receipts import Receipt

#: Events that are loaded first at most. They tell from where on the rest is needed.
_FIRST_WINDOW = 200
#: Events that are loaded beyond the items wanted, for the pops that may be among them.
_SPARE = 8
#: By how much more is loaded each time that was not enough.
_GROWTH = 4
#: The author of pops and clears.
_AUTHOR = "session"


class ZdkSession:
    """The items of one conversation, for ``Runner.run(..., session=...)``.

    ::

        from api_client import StorageClient
        from api_client.adapters.openai import ZdkSession

        session = ZdkSession("conversation_123", StorageClient.from_env())

    Any number of these, in any number of threads, event loops and processes, may share a
    conversation. What each call stores is stored once and wholly, or not at all, also if the call
    is cancelled or times out: before `add_items` first waits, it has handed the whole batch to the
    client, and nothing takes that back. A cancelled `pop_item` has taken nothing, or one item,
    which is then gone.

    Attributes:
        session_id: as given.
        session_settings: its ``limit`` is the default of `get_items`.
        key: the session's key, for the client's own methods: ``client.sessions.delete(key)``
            erases what `clear_session` only hides.

    Parameters:
        session_id: the conversation; see `SessionKey` for its rules.
        client: any client; the caller closes it. Leave its ``block`` at 0, or a full outbox makes
            the event loop wait for so long.
        app, user: whose conversation it is. The same ``session_id`` of another user is another one.
        session_settings: as of the framework's own sessions; a mapping is taken too.
        ack: when `add_items` returns: ``applied``, when the items are committed; ``accepted``,
            when they are durable in the client's outbox. What this client has accepted it sees in
            any case, because its reads wait for its own writes. What cannot be applied later,
            because somebody has deleted the session, is kept as a dead letter.

    Raises:
        InvalidRequest: an argument is wrong.

    Every method may raise any `StorageError`, and TimeoutError after the client's
    ``wait_timeout``; what was handed over by then is stored all the same, so do not repeat it.
    """

    session_id: str
    session_settings: SessionSettings | None

    def __init__(
        self,
        session_id: str,
        client: StorageClient,
        *,
        app: str = "openai-agents",
        user: str = "user",
        session_settings: SessionSettings | Mapping[str, Any] | None = None,
        ack: Ack = "applied",
    ):
        if not isinstance(client, StorageClient):
            raise InvalidRequest(
                f"client must be a StorageClient, not {type(client).__name__}", field="client"
            )
        check_ack(ack)
        self.key = SessionKey(app, user, session_id)
        self.session_id = session_id
        self.session_settings = _settings(session_settings)
        self._sessions = client.sessions
        self._ack = ack
        #: Whether there is such a session, as far as this object knows.
        self._exists = False

    async def get_items(
        self, limit: int | None = None, *, wrapper: RunContextWrapper[Any] | None = None
    ) -> list[TResponseInputItem]:
        """The items, oldest first.

        Parameters:
            limit: only so many, the latest; if None, as many as ``session_settings`` say. All, if
                it is negative, as in the framework's own `SQLiteSession`.
            wrapper: the run's context, which the runner gives; not used.
        """
        wanted = self._wanted(limit)
        if wanted == 0:
            return []
        tail = await self._read(wanted)
        latest = tail.items if wanted is None else tail.items[-wanted:]
        return [*map(restored, latest)]

    async def add_items(
        self,
        items: list[TResponseInputItem],
        *,
        wrapper: RunContextWrapper[Any] | None = None,
    ) -> None:
        """Add ``items`` at the end, next to each other. The first ones create the session.

        Parameters:
            items: each at most `MAX_EVENT_BYTES` as JSON, all of them `MAX_OPERATION_BYTES`.
            wrapper: the run's context, which the runner gives; not used.

        Raises:
            TooLarge: an item, or the batch, exceeds its limit.
            InvalidRequest: an item is nothing that `json.dumps` takes, or is nested deeper than 400
                levels.
        """
        if not items:
            return
        events = events_of(items)
        adding = self._add(events)
        if self._ack == "accepted":
            await adding.accepted
            return
        try:
            await adding
        except NotFound:
            # Somebody has deleted the session since this object last saw it.
            self._exists = False
            await self._add(events)

    async def pop_item(
        self, *, wrapper: RunContextWrapper[Any] | None = None
    ) -> TResponseInputItem | None:
        """Take the last item away and return it; None if there is none.

        However many call this at once, here or elsewhere, no two get the same item.

        Parameters:
            wrapper: the run's context, which the runner gives; not used.
        """
        seen = await self._read(1)
        if not seen.items:
            return None
        popped = await self._mark(Event(author=_AUTHOR, content=POP))
        if popped is None or popped.seq is None:
            return None
        if popped.seq != seen.last_seq + 1:
            # Others wrote in between: what was the last item then is what this pop has taken.
            seen = await self._read(1, before=popped.seq)
        return restored(seen.items[-1]) if seen.items else None

    async def clear_session(self, *, wrapper: RunContextWrapper[Any] | None = None) -> None:
        """Clear all items. They are seen no more, and no longer cost anything to pass over.

        Parameters:
            wrapper: the run's context, which the runner gives; not used.
        """
        seen = await self._read(1)
        if not seen.items:
            return
        noted = Event(author=_AUTHOR, content=CLEAR, state_delta={CLEARED: seen.last_seq + 1})
        try:
            await self._mark(noted, expected_revision=seen.revision)
        except Conflict:
            # Its seq was to be known before; if others write at the same time, readers find it.
            await self._mark(Event(author=_AUTHOR, content=CLEAR))

    def _wanted(self, limit: int | None) -> int | None:
        if limit is None:
            limit = _settings(self.session_settings).limit
        if limit is None:
            return None
        if not isinstance(limit, int) or limit >= 0:
            check_count(limit, "limit")
            return limit
        return None

    def _add(self, events: list[Event]) -> Receipt[EventsAppended]:
        """Hand over the append, and before it the session's creation if that may be needed, without
        waiting in between. That somebody else has created it is as well."""
        if not self._exists:
            created = self._sessions.create(self.key)
            # Its failure counts as seen, so that none is kept for the operator.
            created.add_done_callback(lambda _: None)
        appended = self._sessions.append(self.key, events)
        self._exists = True
        return appended

    async def _mark(
        self, event: Event, expected_revision: int | None = None
    ) -> EventsAppended | None:
        """Append a pop or a clear; None if there is no such session."""
        try:
            return await self._sessions.append(self.key, event, expected_revision=expected_revision)
        except NotFound:
            return None

    async def _read(self, wanted: int | None, before: int | None = None) -> Tail:
        """The end of the history, as far as it takes to have ``wanted`` items, or all if None.

        Parameters:
            before: only what precedes the event of this seq.
        """
        window = _SPARE + (_FIRST_WINDOW if wanted is None else min(wanted, _FIRST_WINDOW))
        tail = await self._load(last=window, before=before)
        while not tail.reaches(wanted):
            window = max(window * _GROWTH, wanted or 0)
            last = None if wanted is None else window
            tail = await self._load(last=last, after=tail.cleared, before=before)
        return tail

    async def _load(self, *, last: int | None, after: int = 0, before: int | None) -> Tail:
        try:
            session = await self._sessions.load(self.key, last=last, after_seq=after)
        except NotFound:
            self._exists = False
            return NOTHING
        self._exists = True
        return fold(session, after=after, before=before)


def _settings(given: SessionSettings | Mapping[str, Any] | None) -> SessionSettings:
    if isinstance(given, Mapping):
        return SessionSettings(**given)
    return given if given is not None else SessionSettings()
