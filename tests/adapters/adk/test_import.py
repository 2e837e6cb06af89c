"""``zdk import adk``: databases written by ADK's own services, read back through ours."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.adk.events import Event, EventActions
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.schemas.v0 import Base as PickledBase
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from api_client import Event as StorageEvent
from api_client import SessionKey, StorageClient
from api_client.adapters.adk import ZdkSessionService
from api_client.adapters.adk.events import from_adk
from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.records import new_id
from tests.adapters.adk.samples import full_event
from tests.support.postgres import PostgresServer
from tests.support.programs import run_zdk
from worker.artifacts.blobs.memory import MemoryBlobStore
from worker.cli.imports import imports
from worker.database import Database, DatabaseOptions
from worker.imports import bring, writer
from worker.imports.mapping import EventRow, event_of
from worker.imports.run import import_adk
from worker.imports.source import Source
from worker.imports.summary import OnProgress, Summary
from worker.migrate import upgrade
from worker.storage import Storage

T = TypeVar("T")
#: Events by app, user, session and id.
Written = dict[tuple[str, str, str, str], Event]

_SESSIONS = [("shop", "ada", "one"), ("shop", "ada", "two"), ("shop", "ben", "one"),
             ("shop", "ben", "empty"), ("bank", "ada", "one")]  # fmt: skip


class Killed(Exception):
    """Ends an import as SIGKILL would: nothing is written after it."""


@dataclass
class Move:
    """A database of ADK's, and a migrated one of ours.

    Attributes:
        adk_url: as ADK is given it.
        url: of ours.
    """

    adk_url: str
    url: str

    def run(self, *, dry_run: bool = False, die_after: int | None = None) -> Summary:
        """Import; if told so, die after so many events were read."""
        left = [die_after]

        def on_progress(read: int) -> None:
            if left[0] is not None:
                left[0] -= read
                if left[0] < 0:
                    raise Killed

        def on_pass(name: str, total: int) -> OnProgress:
            return on_progress

        with self.source() as source, self.storage() as storage:
            return import_adk(source, storage, dry_run=dry_run, on_pass=on_pass)

    @contextmanager
    def source(self) -> Iterator[Source]:
        with closing(Source(self.adk_url)) as source:
            yield source

    @contextmanager
    def storage(self) -> Iterator[Storage]:
        with closing(Storage(Database(DatabaseOptions(self.url)), MemoryBlobStore())) as storage:
            yield storage

    def client(self) -> StorageClient:
        return StorageClient.local(self.url)

    def execute(self, statement: str, **values: Any) -> None:
        """Change something in ADK's database behind its back; SQLite only."""
        with closing(sqlite3.connect(_path(self.adk_url))) as connection, connection:
            connection.execute(statement, values)

    def execute_here(self, statement: str, **values: Any) -> None:
        """The same in ours."""
        with closing(sqlite3.connect(_path(self.url))) as connection, connection:
            connection.execute(statement, values)


def _path(url: str) -> str:
    return url.partition(":///")[2]


def _migrated(url: str) -> str:
    with closing(Database(DatabaseOptions(url))) as database:
        upgrade(database)
    return url


@pytest.fixture
def sqlite_move(tmp_path: Path) -> Move:
    """From SQLite to SQLite."""
    return Move(f"sqlite+aiosqlite:///{tmp_path}/adk.db", _migrated(f"sqlite:///{tmp_path}/zdk.db"))


@pytest.fixture(params=["from SQLite", "from PostgreSQL"])
def move(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path
) -> Iterator[Move]:
    """From SQLite to PostgreSQL and the other way."""
    name = f"move_{new_id().replace('-', '')}"
    url = postgres.create_database(name)
    if request.param == "from SQLite":
        yield Move(f"sqlite+aiosqlite:///{tmp_path}/adk.db", _migrated(url))
    else:
        adk_url = url.replace("+psycopg2", "+asyncpg")
        yield Move(adk_url, _migrated(f"sqlite:///{tmp_path}/zdk.db"))
    postgres.drop_database(name)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def storable(event: Event, url: str) -> Event:
    """``event`` as ADK's own service can store it: JSONB has no NUL."""
    if "sqlite" in url:
        return event
    return Event.model_validate(_without_nul(event.model_dump(mode="json", exclude_none=True)))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return value


async def fill(service: Any, url: str) -> Written:
    """Five sessions: events of every kind, late clocks, state of all scopes that events of several
    sessions change in turn. Returns the events."""
    written: Written = {}
    for app, user, name in _SESSIONS:
        state = {"start": name, "kept": None, "app:first": app, "user:first": [user, 1.5]}
        await service.create_session(app_name=app, user_id=user, session_id=name, state=state)
    for n in range(4):
        for app, user, name in _SESSIONS:
            if name != "empty":
                delta = {
                    "step": n,
                    "app:last": f"{user}/{name}/{n}",
                    "user:last": n,
                    f"k{n}": {},
                }
                event = Event(
                    id=f"{name}-{n}",
                    author="user" if n % 2 else "agent",
                    invocation_id=f"run-{n // 2}",
                    timestamp=1_700_000_000.123456 + n - 50 * (n == 1),
                    content=types.Content(role="user", parts=[types.Part(text=f"é{n}")]),
                    actions=EventActions(state_delta=delta),
                )
                await append(service, app, user, name, event)
                written[app, user, name, event.id] = event
    full = storable(full_event(id="full", timestamp=1.7e9), url)
    for event in (full, Event(id="last", timestamp=1_700_000_100.0)):
        await append(service, "shop", "ada", "one", event)
        written["shop", "ada", "one", event.id] = event
    return written


async def append(service: Any, app: str, user: str, name: str, event: Event) -> None:
    session = await service.get_session(app_name=app, user_id=user, session_id=name)
    await service.append_event(session, event)


def written_by_adk(move: Move) -> Written:
    async def write() -> Written:
        async with DatabaseSessionService(move.adk_url) as service:
            return await fill(service, move.adk_url)

    return run(write())


async def everything(service: Any) -> dict[str, Any]:
    """All that a session service shows of the five sessions."""
    shown: dict[str, Any] = {}
    for app, user, name in _SESSIONS:
        session = await service.get_session(app_name=app, user_id=user, session_id=name)
        shown[f"{app}/{user}/{name}"] = session.model_dump()
        recent = await service.get_session(
            app_name=app,
            user_id=user,
            session_id=name,
            config=GetSessionConfig(num_recent_events=2),
        )
        shown[f"{app}/{user}/{name} recent"] = recent.model_dump()
    for app in ("shop", "bank"):
        listed = await service.list_sessions(app_name=app)
        shown[f"{app} listed"] = listed.model_dump()
        for user in ("ada", "ben"):
            state = await service.get_user_state(app_name=app, user_id=user)
            shown[f"{app}/{user} state"] = state
    return shown


def assert_same(move: Move, own: Any = None) -> None:
    """What our service shows is what ADK's own shows."""

    async def compare() -> None:
        async with own or DatabaseSessionService(move.adk_url) as service:
            expected = await everything(service)
        async with move.client() as client:
            found = await everything(ZdkSessionService(client))
        for what, shown in expected.items():
            assert found[what] == shown, what

    run(compare())


def test_all_is_as_adk_itself_shows_it(move: Move) -> None:
    written_by_adk(move)
    summary = move.run()
    assert (summary.failures, summary.differences) == ([], [])
    assert (summary.new_sessions, summary.new_events, summary.new_state) == (5, 18, 12)
    assert (summary.sessions, summary.events, summary.verified) == (5, 18, 5)
    assert (summary.gone_on, summary.orphans) == (0, 0)
    assert_same(move)

    again = move.run()
    assert (again.failures, again.differences) == ([], [])
    assert (again.new_sessions, again.new_events, again.new_state) == (0, 0, 0)
    assert again.verified == 5
    assert_same(move)


def test_maps_an_event_as_the_adapter_does(move: Move) -> None:
    written = written_by_adk(move)
    # JSONB changes numbers, such as -0.0; there, what ADK reads is what counts.
    events = written if "sqlite" in move.adk_url else run(read_by_adk(move))
    expected = {place: _comparable(from_adk(event)) for place, event in events.items()}
    with move.source() as source:
        for session in source.sessions():
            for event_id, row in source.events(session):
                assert isinstance(row, EventRow)
                place = session.app, session.user, session.id, event_id
                assert _comparable(event_of(row)) == expected.pop(place), place
    assert expected == {}


def _comparable(event: StorageEvent) -> StorageEvent:
    """Without what ADK writes in another form than it reads, and so reads back in part only; the
    adapter does not, and what was lost cannot be brought over."""
    del event.content["actions"]["requested_auth_configs"]
    return event


async def read_by_adk(move: Move) -> Written:
    async with DatabaseSessionService(move.adk_url) as service:
        sessions = [
            await service.get_session(app_name=app, user_id=user, session_id=name)
            for app, user, name in _SESSIONS
        ]
    return {(s.app_name, s.user_id, s.id, e.id): e for s in sessions for e in s.events}


def test_killed_at_any_point_and_run_again(
    sqlite_move: Move, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bring, "_MAX_EVENTS", 2)
    monkeypatch.setattr(writer, "_MAX_MESSAGES", 2)
    written_by_adk(sqlite_move)
    counts = []
    for events in range(0, 19, 3):
        move = Move(sqlite_move.adk_url, _migrated(f"sqlite:///{tmp_path}/killed-{events}.db"))
        with pytest.raises(Killed):
            move.run(die_after=events)
        second = move.run()
        assert (second.failures, second.differences) == ([], [])
        counts.append(second.new_events)
        assert_same(move)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 14
    assert counts[-1] == 0


def test_a_later_run_brings_what_has_come_since(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.run()

    async def go_on() -> None:
        async with DatabaseSessionService(sqlite_move.adk_url) as service:
            delta = {"step": 99, "app:last": "late", "user:new": 1}
            event = Event(author="a", timestamp=1.8e9, actions=EventActions(state_delta=delta))
            await append(service, "shop", "ben", "one", event)
            await service.create_session(app_name="shop", user_id="new", session_id="s")

    run(go_on())
    summary = sqlite_move.run()
    assert (summary.new_sessions, summary.new_events, summary.new_state) == (1, 1, 1)
    assert (summary.failures, summary.differences) == ([], [])
    assert_same(sqlite_move)


def test_a_later_run_leaves_alone_what_has_changed_here(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.run()

    async def go_on() -> dict[str, Any]:
        async with sqlite_move.client() as client:
            service = ZdkSessionService(client)
            delta = {"step": "here", "app:last": "here"}
            event = Event(author="a", timestamp=1.8e9, actions=EventActions(state_delta=delta))
            await append(service, "shop", "ben", "one", event)
            return await all_here(client)

    async def all_here(client: StorageClient) -> dict[str, Any]:
        shown = await everything(ZdkSessionService(client))
        session = await client.sessions.load(SessionKey("shop", "ben", "one"))
        return {**shown, "times": (session.created_at, session.updated_at)}

    here = run(go_on())
    summary = sqlite_move.run()
    assert (summary.new_sessions, summary.new_events, summary.new_state) == (0, 0, 0)
    assert summary.gone_on == 1
    assert [(found.where, found.message) for found in summary.differences] == [
        ("shop", "has another value of the state key 'app:last' here")
    ]

    async def unchanged() -> dict[str, Any]:
        async with sqlite_move.client() as client:
            return await all_here(client)

    assert run(unchanged()) == here


def test_agents_write_while_a_file_is_read(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    with sqlite_move.source() as source:
        sessions = source.sessions()
        first = next(sessions)
        with closing(sqlite3.connect(_path(sqlite_move.adk_url), timeout=0)) as agent, agent:
            agent.execute("UPDATE events SET invocation_id = 'since'")
        events = [row for session in [first, *sessions] for _, row in source.events(session)]
    assert all(isinstance(row, EventRow) and row.invocation_id != "since" for row in events)


def test_a_file_that_stays_locked(sqlite_move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    written_by_adk(sqlite_move)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0.0))
    with closing(sqlite3.connect(_path(sqlite_move.adk_url))) as agent:
        agent.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OperationalError, match="locked"):
            Source(sqlite_move.adk_url)


def test_a_dry_run_changes_nothing(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    summary = sqlite_move.run(dry_run=True)
    assert (summary.new_sessions, summary.new_events, summary.new_state) == (5, 18, 12)
    assert summary.verified == 0
    with sqlite_move.client() as client:
        assert not client.sessions.list("shop").result().items
        assert client.sessions.shared_state("shop", "ada").result() == {}


def test_bad_rows_are_named_and_the_rest_come(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    change = sqlite_move.execute
    change("UPDATE events SET event_data = '{' WHERE id = 'two-1'")
    change("UPDATE events SET event_data = '[]' WHERE id = 'two-2'")
    change("UPDATE events SET event_data = '{\"partial\": true}' WHERE id = 'two-3'")
    change("UPDATE sessions SET state = 'nothing' WHERE app_name = 'bank'")
    change("UPDATE user_states SET state = '7' WHERE app_name = 'bank'")
    change(
        "INSERT INTO sessions SELECT app_name, user_id, :id, state, create_time, update_time "
        "FROM sessions WHERE id = 'empty'",
        id="é" * 129,
    )
    change("INSERT INTO events SELECT 'orphan', app_name, user_id, 'gone', invocation_id, "
           "timestamp, event_data FROM events WHERE id = 'two-0'")  # fmt: skip
    summary = sqlite_move.run()
    found = {finding.where: finding.message for finding in summary.failures}
    assert found.keys() == {
        "bank/ada",
        "bank/ada/one",
        "shop/ada/two/two-1",
        "shop/ada/two/two-2",
        "shop/ada/two/two-3",
        f"shop/ben/{'é' * 129}",
    }
    assert found["shop/ada/two/two-1"].startswith("event_data is not JSON")
    assert found["shop/ada/two/two-2"] == "event_data must be an object, not list"
    assert "256" in found[f"shop/ben/{'é' * 129}"]
    assert summary.failed == 6
    assert (summary.new_sessions, summary.new_events) == (4, 11)
    assert summary.differences == []
    # One without a session, and those of the session that did not come.
    assert summary.orphans == 5


def test_verification_finds_differences(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.run()
    change = sqlite_move.execute_here
    change("UPDATE events SET payload = replace(payload, 'é1', 'è1') WHERE event_id = 'two-1'")
    change("UPDATE session_state SET value = '7' WHERE key = 'start' AND value LIKE '%empty%'")
    change("INSERT INTO session_state SELECT session_pk, 'more', '1' FROM session_state "
           "WHERE key = 'start' AND value = '7'")  # fmt: skip
    change("UPDATE user_state SET value = '7' WHERE app = 'bank' AND key = 'first'")
    one = "(SELECT pk FROM sessions WHERE user_id = 'ben' AND session_id = 'one')"
    change(f"UPDATE events SET seq = seq + 10 WHERE event_id = 'one-1' AND session_pk = {one}")
    found = {(finding.where, finding.message) for finding in sqlite_move.run().differences}
    assert found == {
        ("shop/ada/two/two-1", "has other content here"),
        ("shop/ben/empty", "has another value of the state key 'start' here"),
        ("shop/ben/empty", "has the state key 'more' only here"),
        ("bank/ada", "has another value of the state key 'user:first' here"),
        ("shop/ben/one/one-0", "is at another place here"),
    }


def test_sessions_keep_their_times(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    created = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=timezone.utc)
    naive = created.replace(tzinfo=None).isoformat(" ")
    sqlite_move.execute(
        "UPDATE sessions SET create_time = :time, update_time = :time WHERE id = 'empty'",
        time=naive,
    )
    sqlite_move.run()
    key = SessionKey("shop", "ben", "empty")
    with sqlite_move.client() as client:
        session = client.sessions.load(key).result()
    assert (session.created_at, session.updated_at) == (created, created)
    assert_same(sqlite_move)


def test_a_database_of_adks_sqlite_service(sqlite_move: Move) -> None:
    service = SqliteSessionService(_path(sqlite_move.adk_url))
    run(fill(service, sqlite_move.adk_url))
    # This one keeps more digits than a microsecond has.
    sqlite_move.execute("UPDATE sessions SET update_time = 1.7e9 WHERE id = 'empty'")
    summary = sqlite_move.run()
    assert (summary.failures, summary.differences) == ([], [])
    assert summary.new_events == 18

    async def compare() -> None:
        expected = await everything(service)
        async with sqlite_move.client() as client:
            assert await everything(ZdkSessionService(client)) == expected

    run(compare())


def test_pickled_events_are_refused(sqlite_move: Move) -> None:
    engine = create_engine(sqlite_move.adk_url.replace("+aiosqlite", ""))
    PickledBase.metadata.create_all(engine)
    engine.dispose()
    with pytest.raises(InvalidRequest, match="adk migrate session"):
        sqlite_move.run()


def test_other_databases_are_refused(sqlite_move: Move, tmp_path: Path) -> None:
    with closing(sqlite3.connect(_path(sqlite_move.adk_url))) as connection:
        connection.execute("CREATE TABLE something (x)")
    with pytest.raises(InvalidRequest, match="no table 'sessions'"):
        sqlite_move.run()
    with pytest.raises(InvalidRequest, match="has no column"):
        Source(sqlite_move.url)
    with pytest.raises(InvalidRequest, match="there is no file"):
        Source(f"sqlite:///{tmp_path}/nothing.db")
    assert not (tmp_path / "nothing.db").exists()
    with pytest.raises(InvalidRequest, match="malformed") as malformed:
        Source("sessions.db:secret")
    assert "secret" not in str(malformed.value)
    with pytest.raises(InvalidRequest, match="no driver for"):
        Source("nothing://user:secret@host/name")


def test_a_later_schema_is_refused(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.execute("UPDATE adk_internal_metadata SET value = '2'")
    with pytest.raises(InvalidRequest, match="schema 2"):
        sqlite_move.run()


def test_our_own_schema_must_be_there(sqlite_move: Move, tmp_path: Path) -> None:
    written_by_adk(sqlite_move)
    with pytest.raises(Unavailable, match="zdk migrate"):
        Move(sqlite_move.adk_url, f"sqlite:///{tmp_path}/empty.db").run()


def test_the_command_without_google_adk(sqlite_move: Move, tmp_path: Path) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.execute("UPDATE events SET event_data = '{' WHERE id = 'two-1'")
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "adk.py").write_text("raise ImportError('not installed')")
    environment = {"ZDK_DATABASE_URL": sqlite_move.url, "PYTHONPATH": str(tmp_path)}
    done = run_zdk("import", "adk", sqlite_move.adk_url, environment=environment, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "5 of 5 sessions brought over",
        "17 of 18 events brought over",
        "12 state keys of apps and users brought over",
        "5 sessions compared: 0 differences",
    ]
    assert done.stderr.startswith("zdk: shop/ada/two/two-1: event_data is not JSON")


def test_the_command_as_json(sqlite_move: Move) -> None:
    written_by_adk(sqlite_move)
    sqlite_move.execute("UPDATE events SET event_data = '{' WHERE id = 'two-1'")
    words = ["adk", sqlite_move.adk_url, "--dry-run", "--json"]
    done = CliRunner().invoke(imports, words, env={"ZDK_DATABASE_URL": sqlite_move.url})
    assert done.exit_code == 1, done.output
    printed = json.loads(done.stdout)
    assert (printed["dry_run"], printed["new_events"], printed["failed"]) == (True, 17, 1)
    assert printed["failures"][0]["where"] == "shop/ada/two/two-1"


def test_the_command_says_what_is_wrong(sqlite_move: Move) -> None:
    words = ["adk", "sqlite:///nothing.db"]
    done = CliRunner().invoke(imports, words, env={"ZDK_DATABASE_URL": sqlite_move.url})
    assert done.exit_code == 2
    assert done.stderr == "zdk: there is no file 'nothing.db'\n"
