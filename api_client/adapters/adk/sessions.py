"""ADK's session service over a client."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event as AdkEvent
from google.adk.sessions import BaseSessionService
from google.adk.sessions import Session as AdkSession
from google.adk.sessions.base_session_service import GetSessionConfig, ListSessionsResponse

from api_client.adapters.ack import Ack, check_ack
from api_client.adapters.adk.accepted import AcceptedEvents
from api_client.adapters.adk.clients import HoldsClient
from api_client.adapters.adk.events import from_adk, is_same, to_adk, to_datetime
from api_client.adapters.adk.jsonable import jsonable
from api_client.adapters.adk.views import (
    last_update_time,
    revision_seen,
    set_revision_seen,
    to_listed_session,
    to_session,
)
from api_client.client import StorageClient
from api_client.contract.checks import check_text
from api_client.contract.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from api_client.contract.exact import carried_state, restored_state
from api_client.contract.keys import SessionKey
from api_client.contract.outcomes import AppendedEvent, EventsAppended
from api_client.contract.records import SessionSummary
from api_client.contract.scopes import Scope
from api_client.receipts import Receipt

#: Sessions of a listing that are asked for at a time, each with its state.
_PAGE = 500
#: Seconds that `flush` waits at most.
_FLUSH_SECONDS = 30.0
#: The first and the last second that a datetime can hold.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_799.0, 253_402_300_799.0
_MICROSECOND = timedelta(microseconds=1)


class ZdkSessionService(HoldsClient, BaseSessionService):  # type: ignore[misc]
    """Keeps ADK's sessions in ZDK Storage: durable, in order, each event once.

    ::

        service = ZdkSessionService("redis://localhost:6379/0", outbox="outbox.db")
        runner = Runner(app_name="app", agent=agent, session_service=service)

    It keeps the contract of `BaseSessionService`; docs/adk.md lists where it does more. One
    service serves all tasks, threads and event loops of a process, and never blocks a loop.

    Parameters:
        client: a `StorageClient`, remote or local, which stays the caller's to close; or the URL
            of a Celery broker, for a client of the service's own, which `close` closes.
        ack: when `append_event` returns. ``applied``: once the event is committed. ``accepted``:
            once it is durable in the outbox (see `StorageClient`); what fails after that is
            logged, kept as a dead letter, and raised by the session's next `append_event` or by
            `flush`, whichever comes first.
        strict: ADK's own check: refuse to append to a session that somebody else has appended to
            since it was loaded. Not with ``accepted``, which cannot know.
        options: of `StorageClient` (``outbox``, ``result_url``, ...), if ``client`` is a URL. Leave
            ``block`` at 0, or a full outbox makes the event loop wait for so long.

    Raises:
        InvalidRequest: an argument is wrong.
        Unavailable: the outbox is in use, or cannot be opened.

    Beside the errors named at each method, all of them raise `StorageError` as the client does:
    `TooLarge` for an event or a state of more than 4 MiB of JSON, `OutboxFull`, `Unavailable`; and
    TimeoutError if there is no answer within the client's ``wait_timeout``. An append that has
    timed out goes on; append the same event again to learn what became of it.
    """

    def __init__(
        self,
        client: StorageClient | str,
        *,
        ack: Ack = "applied",
        strict: bool = False,
        **options: Any,
    ):
        check_ack(ack)
        if strict and ack == "accepted":
            raise InvalidRequest("strict needs ack='applied'", field="strict")
        super().__init__(client, options)
        self._ack = ack
        self._strict = strict
        self._accepted = AcceptedEvents()
        self._turns: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> AdkSession:
        """Create a session and return it with its merged state. Waits until it is applied.

        Parameters:
            state: ``app:`` and ``user:`` keys are set for the app and the user, ``temp:`` keys are
                dropped. Values without a JSON form are stored as their ``repr``, with a warning.
            session_id: space around it is dropped; if nothing is left, a fresh one is made.

        Raises:
            AlreadyExistsError: there is such a session.
            InvalidRequest: a name is longer than 256 bytes, or has NUL or a lone surrogate; the
                state is nested too deep (`exact.MAX_DEPTH`), or holds itself.
        """
        name = await self._stored_name(app_name, user_id, session_id or "")
        key = SessionKey(app_name, user_id, name) if name else SessionKey.new(app_name, user_id)
        initial = _initial(state or {})
        try:
            await self._client.sessions.create(key, initial)
        except AlreadyExists:
            raise AlreadyExistsError(f"session {key.session!r} already exists") from None
        created = await self._client.sessions.load(key, events=False)
        return to_session(created, [], created)

    async def get_session(
        self,
        *,
        app_name: str,
        user_id: str,
        session_id: str,
        config: GetSessionConfig | None = None,
    ) -> AdkSession | None:
        """Load a session with its merged state and its events in the order of commit, or None if
        there is none. What this client has written before, accepted or applied, is in it.

        Parameters:
            config: ``num_recent_events`` (at most so many, the newest) and ``after_timestamp``
                (those of that time and later) combine.

        Raises:
            ValueError: ``num_recent_events`` is negative.
        """
        config = config or GetSessionConfig()
        last = config.num_recent_events
        if last is not None and last < 0:
            raise ValueError("num_recent_events must be at least 0")
        key = _key(app_name, user_id, await self._stored_name(app_name, user_id, session_id or ""))
        if key is None:
            return None
        try:
            return await self._load(key, last, config.after_timestamp)
        except NotFound:
            return None

    async def list_sessions(
        self, *, app_name: str, user_id: str | None = None
    ) -> ListSessionsResponse:
        """List the sessions of an app, or of one of its users, oldest update first, with merged
        state and without events. They are fetched page by page."""
        found: list[SessionSummary] = []
        cursor: str | None = None
        while _is_name(app_name) and (user_id is None or _is_name(user_id)):
            page = await self._client.sessions.list(
                app_name, user_id, order="oldest", limit=_PAGE, cursor=cursor, state=True
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        sessions = [to_listed_session(summary) for summary in found]
        sessions.sort(key=lambda session: (session.last_update_time, session.user_id, session.id))
        return ListSessionsResponse(sessions=sessions)

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Delete a session with its events and its own state; if there is none, do nothing. App
        and user state stay, and so do artifacts. Waits until it is applied."""
        key = _key(app_name, user_id, await self._stored_name(app_name, user_id, session_id or ""))
        if key is not None:
            with contextlib.suppress(NotFound):
                await self._client.sessions.delete(key)

    async def get_user_state(self, *, app_name: str, user_id: str) -> dict[str, Any]:
        """The user's state by keys without prefix, whether there is a session or not."""
        if not (_is_name(app_name) and _is_name(user_id)):
            return {}
        shared = restored_state(await self._client.sessions.shared_state(app_name, user_id))
        prefix = Scope.USER.value
        return {
            name.removeprefix(prefix): value
            for name, value in shared.items()
            if name.startswith(prefix)
        }

    async def append_event(self, session: AdkSession, event: AdkEvent) -> AdkEvent:
        """Store an event with its state delta, then add it to ``session``, and return it.

        A partial event is returned as it is. An event that was stored before changes nothing. If
        others append to the session too, all events are kept, in the order of commit; ``session``
        has those it was loaded with and those appended through it.

        Raises:
            SessionNotFoundError: there is no such session (any more).
            StaleSessionError: the service is strict, and the session was changed since.
            AlreadyExistsError: another event of this id was stored before.
            TooLarge: the event takes more than 4 MiB as JSON. ``session`` is as it was.
        """
        if event.partial:
            return event
        key = _key(session.app_name, session.user_id, session.id)
        if key is None:
            raise SessionNotFoundError(f"there is no session {session.id!r}")
        self._accepted.raise_for(key)
        if not event.id:
            event.id = AdkEvent.new_id()
        try:
            async with self._turn(key):
                expected = await self._expected_revision(session, key) if self._strict else None
                receipt = self._client.sessions.append(
                    key, from_adk(event), expected_revision=expected
                )
                self._apply_temp_state(session, event)
                event = self._trim_temp_delta_state(event)
                appended = await self._acknowledged(key, event, receipt)
                await self._keep(session, event, key, appended)
        except NotFound as error:
            raise SessionNotFoundError(f"session {session.id!r} not found: {error}") from None
        except Conflict:
            raise _stale(session) from None
        return event

    async def flush(self) -> None:
        """Wait until all accepted events have their outcome, for at most 30 seconds.

        Raises:
            Unavailable: some have none yet. They go on.
            SessionNotFoundError, StorageError: some have failed since the last call, and their
                sessions were not appended to since.
        """
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._accepted.settled()
        except TimeoutError:
            raise Unavailable(
                f"{len(self._accepted)} accepted events have no outcome yet; they go on"
            ) from None
        self._accepted.raise_for_all()

    async def _load(self, key: SessionKey, last: int | None, after: float | None) -> AdkSession:
        load = self._client.sessions.load
        if last == 0:
            newest = await load(key, last=1)
            return to_session(newest, [], newest)
        if after is None:
            loaded = await load(key, last=last)
            return to_session(loaded, loaded.events, loaded)
        # The last event need not be among those after a time, but the session's time is its time.
        bounded, unbounded = load(key, last=last, after_time=_before(after)), load(key, last=1)
        loaded = await bounded
        return to_session(loaded, loaded.events, await unbounded)

    async def _stored_name(self, app: str, user: str, name: str) -> str:
        """A session's name for one that a caller gives: as it is if it is stored so, as only other
        services do, else without the space around it."""
        bare = name.strip()
        key = _key(app, user, name) if bare != name else None
        if key is not None:
            with contextlib.suppress(NotFound):
                await self._client.sessions.load(key, events=False)
                return name
        return bare

    def _turn(self, key: SessionKey) -> contextlib.AbstractAsyncContextManager[Any]:
        """Strict appends to one session wait for one another, so that each knows the revision
        that the one before has made. Others need not: the client keeps their order."""
        if not self._strict:
            return contextlib.nullcontext()
        # A lock belongs to one event loop.
        return self._turns.setdefault((asyncio.get_running_loop(), key), asyncio.Lock())

    async def _expected_revision(self, session: AdkSession, key: SessionKey) -> int:
        """The revision that the session must be at for its holder to know all its events.

        Raises:
            StaleSessionError: a session that did not come from this service does not end as the
                stored one does.
        """
        seen = revision_seen(session)
        if seen is not None:
            return seen
        newest = await self._client.sessions.load(key, last=1)
        stored = [to_adk(event).id for event in newest.events]
        held = [event.id for event in session.events[-1:]]
        if stored != held and last_update_time(newest) > session.last_update_time:
            raise _stale(session)
        set_revision_seen(session, newest.revision)
        return newest.revision

    async def _acknowledged(
        self, key: SessionKey, event: AdkEvent, receipt: Receipt[EventsAppended]
    ) -> AppendedEvent | None:
        """Wait as ``ack`` says. None if the outcome is not known yet."""
        if self._ack == "applied":
            return (await receipt).events[0]
        await receipt.accepted
        self._accepted.watch(key, event.id, receipt)
        return None

    async def _keep(
        self,
        session: AdkSession,
        event: AdkEvent,
        key: SessionKey,
        appended: AppendedEvent | None,
    ) -> None:
        """Add an event to the caller's session, unless that has it."""
        if appended is None or appended.duplicate:
            held = next((old for old in reversed(session.events) if old.id == event.id), None)
            if held is not None:
                _check_same(held, event)
                return
            if appended is not None:
                await self._take_over(session, event, key, appended.seq)
                return
        await super().append_event(session=session, event=event)
        session.last_update_time = event.timestamp
        _see_one_more(session)

    async def _take_over(
        self, session: AdkSession, event: AdkEvent, key: SessionKey, seq: int
    ) -> None:
        """Add an event that was stored before, through another session object or by an append
        that timed out. Its delta may be outdated by now, so the state comes from the store."""
        loaded = await self._client.sessions.load(key, after_seq=seq - 1)
        if not loaded.events:
            raise NotFound("it was deleted meanwhile", field="key")
        _check_same(to_adk(loaded.events[0]), event)
        state = restored_state(loaded.state)
        for name in event.actions.state_delta:
            if name in state:
                session.state[name] = state[name]
        session.events.append(event)
        session.last_update_time = last_update_time(loaded)
        seen = revision_seen(session)
        if seen is not None and loaded.revision - seen == len(loaded.events):
            # It is the first that the holder had not seen. An older one, which a bounded load has
            # left out, is none more.
            _see_one_more(session)


def _key(app: str, user: str, session: str) -> SessionKey | None:
    """The session's key; None if no session can have such a name."""
    if not (_is_name(app) and _is_name(user) and _is_name(session)):
        return None
    return SessionKey(app, user, session)


def _initial(state: dict[str, Any]) -> dict[str, Any]:
    try:
        return carried_state(jsonable(state))
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"state has no JSON form: {error}", field="state") from error


def _is_name(text: str) -> bool:
    try:
        check_text(text, "name")
    except InvalidRequest:
        return False
    return True


def _before(timestamp: float) -> datetime:
    """The last moment before ``timestamp``: the client gives what is later than a time."""
    bounded = min(max(timestamp, _FIRST_SECOND), _LAST_SECOND)
    return to_datetime(bounded, "after_timestamp") - _MICROSECOND


def _check_same(stored: AdkEvent, event: AdkEvent) -> None:
    if not is_same(stored, event):
        raise AlreadyExistsError(f"another event with the id {event.id!r} already exists")


def _see_one_more(session: AdkSession) -> None:
    seen = revision_seen(session)
    if seen is not None:
        set_revision_seen(session, seen + 1)


def _stale(session: AdkSession) -> StaleSessionError:
    return StaleSessionError(
        f"session {session.id!r} has been modified in storage since it was loaded; "
        "load it again before appending to it"
    )
