"""State in its three scopes: gathering changes, writing them, reading the merged view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, select

from api_client.contract.keys import SessionKey
from api_client.contract.scopes import Scope, split_state_key
from worker.database.rows import delete_rows
from worker.schema import app_state, session_state, user_state
from worker.writes import Writes


@dataclass
class StateChanges:
    """The last value by the key's place in its table; None deletes it. JSON's null is the text
    ``null``."""

    app: dict[tuple[str, str], str | None] = field(default_factory=dict)
    user: dict[tuple[str, str, str], str | None] = field(default_factory=dict)
    session: dict[tuple[int, str], str | None] = field(default_factory=dict)

    def apply(
        self,
        key: SessionKey,
        session_pk: int,
        delta: Mapping[str, msgspec.Raw],
        delete: Iterable[str],
    ) -> None:
        """Note one delta; later ones override earlier ones. ``temp:`` keys are dropped."""
        for name, raw in delta.items():
            self._note(key, session_pk, name, bytes(raw).decode())
        for name in delete:
            self._note(key, session_pk, name, None)

    def forget_session(self, session_pk: int) -> None:
        """Drop what was noted for a session that is deleted in the same transaction."""
        self.session = {place: v for place, v in self.session.items() if place[0] != session_pk}

    def move_sessions(self, moved: Mapping[int, int]) -> None:
        """Put what was noted for a session under another row id."""
        if moved:
            self.session = {(moved.get(pk, pk), key): v for (pk, key), v in self.session.items()}

    def _note(self, key: SessionKey, session_pk: int, name: str, value: str | None) -> None:
        scope, bare = split_state_key(name)
        match scope:
            case Scope.APP:
                self.app[(key.app, bare)] = value
            case Scope.USER:
                self.user[(key.app, key.user, bare)] = value
            case Scope.SESSION:
                self.session[(session_pk, bare)] = value
            case Scope.TEMP:
                pass


def write_state(connection: Connection, writes: Writes, changes: StateChanges) -> None:
    """Apply ``changes``. Waits only for transactions that touch the same keys."""
    _write(connection, writes, app_state, changes.app)
    _write(connection, writes, user_state, changes.user)
    _write(connection, writes, session_state, changes.session)


def _write(
    connection: Connection, writes: Writes, table: Table, changes: Mapping[Any, str | None]
) -> None:
    if not changes:
        return
    # One sorted pass locks every row in the same order in every worker, so that two of them
    # cannot deadlock; deletions are marked in that pass and carried out after it.
    places = sorted(changes)
    writes.upsert(table, [(*place, changes[place]) for place in places], ["value"])
    if deleted := [place for place in places if changes[place] is None]:
        writes.execute()
        delete_rows(connection, list(table.primary_key.columns), deleted)


def read_state(
    connection: Connection, sessions: Sequence[tuple[int, SessionKey]]
) -> dict[int, dict[str, msgspec.Raw]]:
    """The merged state of each session, by its row id, as unparsed JSON values."""
    merged: dict[int, dict[str, msgspec.Raw]] = {pk: {} for pk, _ in sessions}
    if not sessions:
        return merged
    apps, users = _shared_state(connection, [(key.app, key.user) for _, key in sessions])
    for pk, key in sessions:
        merged[pk].update(apps.get(key.app, {}))
        merged[pk].update(users.get((key.app, key.user), {}))
    own = select(session_state).where(session_state.c.session_pk.in_(list(merged)))
    for row in connection.execute(own):
        merged[row.session_pk][row.key] = _raw(row.value)
    return merged


def read_shared_state(connection: Connection, app: str, user: str) -> dict[str, msgspec.Raw]:
    """The state of an app and of one of its users, likewise."""
    apps, users = _shared_state(connection, [(app, user)])
    return {**apps.get(app, {}), **users.get((app, user), {})}


def _shared_state(
    connection: Connection, of: Iterable[tuple[str, str]]
) -> tuple[dict[str, dict[str, msgspec.Raw]], dict[tuple[str, str], dict[str, msgspec.Raw]]]:
    apps: dict[str, dict[str, msgspec.Raw]] = {}
    users: dict[tuple[str, str], dict[str, msgspec.Raw]] = {}
    users_of: dict[str, set[str]] = {}
    for app, user in of:
        users_of.setdefault(app, set()).add(user)
    for app, names in users_of.items():
        for row in connection.execute(select(app_state).where(app_state.c.app == app)):
            apps.setdefault(app, {})[Scope.APP.value + row.key] = _raw(row.value)
        wanted = user_state.c.app == app, user_state.c.user_id.in_(sorted(names))
        for row in connection.execute(select(user_state).where(*wanted)):
            own = users.setdefault((app, row.user_id), {})
            own[Scope.USER.value + row.key] = _raw(row.value)
    return apps, users


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
