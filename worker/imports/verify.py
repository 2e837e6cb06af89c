"""Compares what is here with the database it came from: every session, event and state key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from api_client.contract.checks import json_encoder
from api_client.contract.events import encode_event
from api_client.contract.keys import SessionKey
from api_client.contract.scopes import Scope, split_state_key
from worker.database import Database
from worker.imports.bring import REFUSED, session_state, shared_state, where
from worker.imports.mapping import event_of
from worker.imports.source import SessionRow, Source, Unreadable
from worker.imports.summary import OnProgress, Summary
from worker.schema import events, sessions
from worker.sessions.state import read_shared_state, read_state

_EVENTS = 200


@dataclass
class _Seen:
    """How far a session has been compared: its events so far, and the seq of the last one."""

    events: int = 0
    seq: int = 0


class Verification:
    """One pass over the other database. What cannot be brought over is passed over in silence: it
    was named when that was tried."""

    def __init__(
        self, source: Source, database: Database, summary: Summary, on_progress: OnProgress
    ):
        self._source = source
        self._database = database
        self._summary = summary
        self._on_progress = on_progress

    def run(self) -> None:
        """Compare everything.

        Raises:
            sqlalchemy.exc.DBAPIError: a database is in trouble.
        """
        for app, state in self._source.app_states():
            self._compare_shared_state(app, None, state)
        for app, user, state in self._source.user_states():
            self._compare_shared_state(app, user, state)
        for row in self._source.sessions():
            try:
                key, state = SessionKey(row.app, row.user, row.id), session_state(row)
            except REFUSED:
                continue
            self._compare_session(row, key, state)
            self._summary.verified += 1

    def _compare_shared_state(self, app: str, user: str | None, given: Any) -> None:
        scope = Scope.APP if user is None else Scope.USER
        try:
            expected = shared_state(given, scope)
        except REFUSED:
            return
        with self._database.read.connect() as connection:
            found = read_shared_state(connection, app, user or app)
        self._compare_state(app if user is None else f"{app}/{user}", expected, found)

    def _compare_session(self, row: SessionRow, key: SessionKey, state: dict[str, Any]) -> None:
        is_wanted = (
            sessions.c.app == key.app,
            sessions.c.user_id == key.user,
            sessions.c.session_id == key.session,
        )
        with self._database.read.connect() as connection:
            found = connection.execute(select(sessions).where(*is_wanted)).first()
            if found is None:
                self._summary.differ(where(row), "is not here")
                return
            seen = self._compare_events(connection, row, found.pk)
            if found.last_seq > seen.events:
                self._summary.gone_on += 1
                return
            merged = read_state(connection, [(found.pk, key)])[found.pk]
        own = {
            name: raw for name, raw in merged.items() if split_state_key(name)[0] is Scope.SESSION
        }
        self._compare_state(where(row), state, own)
        for name in own.keys() - state.keys():
            self._summary.differ(where(row), f"has the state key {name!r} only here")

    def _compare_events(self, connection: Connection, row: SessionRow, pk: int) -> _Seen:
        seen = _Seen()
        rows = self._source.events(row)
        while batch := [*islice(rows, _EVENTS)]:
            expected = dict(_stored(batch))
            is_there = events.c.session_pk == pk, events.c.event_id.in_(list(expected))
            statement = select(events.c.event_id, events.c.seq, events.c.payload).where(*is_there)
            found = {entry.event_id: entry for entry in connection.execute(statement)}
            for event_id, payload in expected.items():
                self._compare_event(f"{where(row)}/{event_id}", payload, found.get(event_id), seen)
            self._on_progress(len(batch))
        return seen

    def _compare_event(self, place: str, payload: str, found: Any, seen: _Seen) -> None:
        if found is None:
            self._summary.differ(place, "is not here")
            return
        seen.events += 1
        if found.seq < seen.seq:
            self._summary.differ(place, "is at another place here")
        seen.seq = found.seq
        if found.payload != payload and _canonical(found.payload) != _canonical(payload):
            self._summary.differ(place, "has other content here")

    def _compare_state(
        self, place: str, expected: Mapping[str, Any], found: Mapping[str, msgspec.Raw]
    ) -> None:
        for name, value in expected.items():
            if name not in found:
                self._summary.differ(place, f"lacks the state key {name!r} here")
            elif _canonical(found[name]) != _canonical(json_encoder.encode(value)):
                self._summary.differ(place, f"has another value of the state key {name!r} here")


def _stored(batch: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """The id and the payload of each event that can be stored."""
    for _, found in batch:
        if isinstance(found, Unreadable):
            continue
        try:
            event = event_of(found)
            yield event.id, bytes(encode_event(event)).decode()
        except REFUSED:
            continue


def _canonical(raw: msgspec.Raw | bytes | str) -> bytes:
    """JSON with its members in one order, which a database may have changed."""
    return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
