"""Brings over what is missing here: the state of apps and users, sessions, events.

Whatever is committed is right by itself: a session comes with the state that it has at its end, and
each message that appends events sets the state keys that these events touch back to what they are
at the end. So an import may end at any point, and the next one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import select

from api_client.contract.checks import check_size, encode_json
from api_client.contract.errors import StorageError
from api_client.contract.events import encode_event
from api_client.contract.exact import carried_state
from api_client.contract.keys import SessionKey
from api_client.contract.limits import MAX_STATE_BYTES
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteSession,
    UpdateState,
)
from api_client.contract.records import Event, new_id
from api_client.contract.scopes import Scope, split_state_key
from worker.imports.mapping import event_of
from worker.imports.source import SessionRow, Source, Unreadable, object_in, time_in
from worker.imports.summary import OnProgress, Summary
from worker.imports.writer import Brings, Times, Writer
from worker.schema import events, sessions
from worker.sessions.state import read_shared_state
from worker.storage import Storage

#: Events, and bytes of events, in one message. More than the second only if one event has more.
_MAX_EVENTS = 500
_MAX_BYTES = 1024 * 1024
#: Stands for a user where only the state of an app matters.
_ANYBODY = "import"

#: What a row cannot be brought over for.
REFUSED = (StorageError, Unreadable)

#: Events, each with its JSON as it will be stored.
Chunk = list[tuple[Event, msgspec.Raw]]


class Bringing:
    """One run over the other database.

    Parameters:
        storage: where to.
        dry_run: only count what would be brought.
    """

    def __init__(
        self,
        source: Source,
        storage: Storage,
        summary: Summary,
        *,
        dry_run: bool,
        on_progress: OnProgress,
    ):
        self._source = source
        self._storage = storage
        self._summary = summary
        self._on_progress = on_progress
        self._writer = Writer(None if dry_run else storage, summary)

    def run(self) -> None:
        """Bring everything over that is missing.

        Raises:
            sqlalchemy.exc.DBAPIError: a database is in trouble; run it again.
        """
        for app, state in self._source.app_states():
            self._bring_shared_state(app, _ANYBODY, Scope.APP, state)
        for app, user, state in self._source.user_states():
            self._bring_shared_state(app, user, Scope.USER, state)
        for row in self._source.sessions():
            self._summary.sessions += 1
            try:
                self._bring_session(row)
            except REFUSED as error:
                self._summary.fail(where(row), error)
        self._writer.flush()

    def _bring_shared_state(self, app: str, user: str, scope: Scope, given: Any) -> None:
        """Set the keys that are not there yet; what is there may have changed here since."""
        place = app if scope is Scope.APP else f"{app}/{user}"
        try:
            key = SessionKey(app, user, new_id())
            state = _encoded(shared_state(given, scope))
        except REFUSED as error:
            self._summary.fail(place, error)
            return
        with self._storage.database.read.connect() as connection:
            present = read_shared_state(connection, app, user)
        missing = {name: value for name, value in state.items() if name not in present}
        if missing:
            # State is set through a session; this one is gone in the same transaction.
            brings = Brings(place, state=len(missing))
            self._writer.add(brings, CreateSession(key=key, state=missing), DeleteSession(key=key))

    def _bring_session(self, row: SessionRow) -> None:
        key = SessionKey(row.app, row.user, row.id)
        final = session_state(row)
        pk = self._find(key)
        if pk is None:
            create = CreateSession(key=key, state=_encoded(final))
            self._writer.add(Brings(where(row), sessions=1), create)
        count = 0
        for chunk in self._chunks(row):
            count += len(chunk)
            self._append(row, key, final, self._missing(pk, chunk))
        times = time_in(row.create_time, "create_time"), time_in(row.update_time, "update_time")
        self._writer.keep_times(Times(key, count, *times))

    def _append(
        self, row: SessionRow, key: SessionKey, final: Mapping[str, Any], chunk: Chunk
    ) -> None:
        if not chunk:
            return
        operations: list[AppendEvents | UpdateState] = [
            AppendEvents(key=key, events=[raw for _, raw in chunk])
        ]
        touched = {name for event, _ in chunk for name in event.state_delta}
        if touched:
            state = self._final_state(row, final, touched)
            delta = {name: state[name] for name in touched if name in state}
            delete = sorted(touched - state.keys())
            operations.append(UpdateState(key=key, delta=_encoded(delta), delete=delete))
        self._writer.add(Brings(where(row), events=len(chunk)), *operations)

    def _final_state(
        self, row: SessionRow, final: Mapping[str, Any], touched: Iterable[str]
    ) -> Mapping[str, Any]:
        """The state at the end, in all the scopes that ``touched`` keys belong to."""
        scopes = {split_state_key(name)[0] for name in touched}
        state = dict(final)
        if Scope.APP in scopes:
            state |= shared_state(self._source.app_state(row.app), Scope.APP)
        if Scope.USER in scopes:
            state |= shared_state(self._source.user_state(row.app, row.user), Scope.USER)
        return state

    def _chunks(self, row: SessionRow) -> Iterator[Chunk]:
        """The session's events as they are to be stored, in order."""
        chunk: Chunk = []
        size = read = 0
        for event_id, found in self._source.events(row):
            read += 1
            try:
                if isinstance(found, Unreadable):
                    raise found
                event = event_of(found)
                raw = encode_event(event)
            except REFUSED as error:
                self._summary.fail(f"{where(row)}/{event_id}", error)
                continue
            if chunk and (len(chunk) == _MAX_EVENTS or size + len(bytes(raw)) > _MAX_BYTES):
                self._tell(read)
                yield chunk
                chunk, size, read = [], 0, 0
            chunk.append((event, raw))
            size += len(bytes(raw))
        self._tell(read)
        if chunk:
            yield chunk

    def _tell(self, read: int) -> None:
        self._summary.events += read
        self._on_progress(read)

    def _find(self, key: SessionKey) -> int | None:
        is_wanted = (
            sessions.c.app == key.app,
            sessions.c.user_id == key.user,
            sessions.c.session_id == key.session,
        )
        with self._storage.database.read.connect() as connection:
            return connection.execute(select(sessions.c.pk).where(*is_wanted)).scalar()

    def _missing(self, pk: int | None, chunk: Chunk) -> Chunk:
        if pk is None:
            return chunk
        ids = [event.id for event, _ in chunk]
        is_there = events.c.session_pk == pk, events.c.event_id.in_(ids)
        with self._storage.database.read.connect() as connection:
            present = {*connection.execute(select(events.c.event_id).where(*is_there)).scalars()}
        return [(event, raw) for event, raw in chunk if event.id not in present]


def where(row: SessionRow) -> str:
    """The session's name in findings."""
    return f"{row.app}/{row.user}/{row.id}"


def session_state(row: SessionRow) -> dict[str, Any]:
    """A session's own state, as it is stored here. Raises one of `REFUSED`."""
    return carried_state(object_in(row.state, "state"))


def shared_state(given: Any, scope: Scope) -> dict[str, Any]:
    """The state of an app or a user, as it is stored here, with prefixes. Raises likewise."""
    state = object_in(given, "state")
    return carried_state({scope.value + name: value for name, value in state.items()})


def _encoded(state: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """``state``, each value as JSON. Raises likewise."""
    values = {
        name: msgspec.Raw(encode_json(value, "state", MAX_STATE_BYTES))
        for name, value in state.items()
    }
    check_size(sum(len(bytes(raw)) for raw in values.values()), "state", MAX_STATE_BYTES)
    return values
