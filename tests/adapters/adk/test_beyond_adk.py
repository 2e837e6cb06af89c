"""Where the session service does more than ADK's own: each test shows what happens in both.

docs/adk.md names these tests."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import APIKey
from google.adk.auth.auth_tool import AuthConfig
from google.adk.errors import StaleSessionError
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, Session
from google.genai import types
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError

from api_client import InvalidRequest, SessionKey, StorageClient, TooLarge
from api_client.adapters.adk import ZdkSessionService
from api_client.adapters.adk.events import from_adk
from tests.adapters.adk.conftest import STACKS, over_celery, over_one_stack
from tests.adapters.adk.session_contract import DatabaseDesk, Desk, event, ids
from tests.support.postgres import PostgresServer
from tests.support.workers import Stack
from worker.database import Database, DatabaseOptions
from worker.schema import sessions

over_all_stacks = pytest.mark.parametrize("stack", STACKS, indirect=True)


@pytest.fixture
def ours(service: ZdkSessionService, app: str) -> Desk:
    return Desk(service, app)


@pytest.fixture
def adks(tmp_path: Path, app: str) -> Desk:
    """ADK's database service, over SQLite."""
    service = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/adk.db")
    return DatabaseDesk(service, app)


@pytest.fixture(scope="module")
def adk_database(postgres: PostgresServer) -> str:
    """A database of ADK's own in PostgreSQL."""
    url = make_url(postgres.create_database("adk")).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


@pytest.fixture
def adks_in_postgres(adk_database: str, app: str) -> Desk:
    """ADK's database service, over PostgreSQL."""
    return DatabaseDesk(DatabaseSessionService(adk_database), app)


async def two_holders(desk: Desk) -> list[tuple[Event, BaseException | None]]:
    """Two holders of one session append in turn: each event, and how it failed."""
    await desk.create("s")
    holders = [await desk.got("s"), await desk.got("s")]
    done: list[tuple[Event, BaseException | None]] = []
    for number in range(6):
        holder = holders[number % 2]
        one = event({f"k{number}": number}, timestamp=holder.last_update_time + 10 + number)
        try:
            await desk.append(holder, one)
        except StaleSessionError as error:
            done.append((one, error))
        else:
            done.append((one, None))
            assert holder.events[-1] is one
            assert holder.state[f"k{number}"] == number
            assert holder.last_update_time == pytest.approx(one.timestamp, abs=1e-6)
    return done


@over_all_stacks
async def test_two_holders_append_in_turn(stack: Stack, ours: Desk, app: str) -> None:
    done = await two_holders(ours)
    assert [error for _, error in done] == [None] * 6
    found = await ours.got("s")
    assert ids(found.events) == ids([one for one, _ in done])
    assert found.state == {f"k{number}": number for number in range(6)}


@over_all_stacks
async def test_two_processes_append_at_once(stack: Stack, app: str) -> None:
    desks = [Desk(ZdkSessionService(client), app) for client in stack.clients(2)]
    await desks[0].create("s")
    holders = [await desk.got("s") for desk in desks]
    many = [[event() for _ in range(10)] for _ in desks]

    async def append(desk: Desk, holder: Any, events: list[Event]) -> None:
        for one in events:
            await desk.append(holder, one)

    await asyncio.gather(*map(append, desks, holders, many))
    found = ids((await desks[0].got("s")).events)
    for holder, events in zip(holders, many, strict=True):
        assert ids(holder.events) == ids(events)
        # Nothing is lost, and each one's own order is kept.
        assert [one for one in found if one in ids(events)] == ids(events)


async def test_two_holders_append_in_turn_in_adk(adks: Desk) -> None:
    done = await two_holders(adks)
    assert [error is None for _, error in done] == [True, False] * 3
    assert len((await adks.got("s")).events) == 3


@over_all_stacks
async def test_the_same_event_twice(ours: Desk) -> None:
    session = await ours.create("s")
    first, second = event({"k": 1, "user:k": 1, "temp:k": 1}), event({"k": 2, "user:k": 2})
    copy = first.model_copy(deep=True)
    await ours.append(session, first)
    await ours.append(session, second)
    for again in (first, copy):
        assert await ours.append(session, again) is again
    assert ids(session.events) == ids([first, second])
    assert session.last_update_time == second.timestamp
    found = await ours.got("s")
    assert found == session.model_copy(update={"state": {"k": 2, "user:k": 2}})


@over_one_stack
async def test_an_event_that_another_holder_has_stored(ours: Desk) -> None:
    """As after a timeout: the event is there, but not in the caller's session."""
    session = await ours.create("s")
    stale = session.model_copy(deep=True)
    first = event({"k": 1, "own": 1})
    await ours.append(session, first)
    await ours.append(session, event({"k": 2}))
    await ours.append(stale, first.model_copy(deep=True))
    assert stale.events == [first]
    # Its delta is outdated; what counts is the store's.
    assert stale.state == {"k": 2, "own": 1}
    assert await ours.get("s") == session


@over_one_stack
async def test_another_event_of_the_same_id(ours: Desk) -> None:
    session = await ours.create("s")
    stale = session.model_copy(deep=True)
    first = event(content=types.Content(parts=[types.Part(text="one")]))
    await ours.append(session, first)
    other = event(id=first.id, content=types.Content(parts=[types.Part(text="another")]))
    for holder in (session, stale):
        with pytest.raises(AlreadyExistsError, match=first.id):
            await ours.append(holder, other)
    # Made anew for a second try, it differs in its time alone.
    again = event(id=first.id, content=first.content, timestamp=first.timestamp + 1)
    await ours.append(session, again)
    assert (await ours.got("s")).events == session.events == [first]


async def test_the_same_event_twice_in_adk(adks: Desk) -> None:
    session = await adks.create("s")
    first = event()
    await adks.append(session, first)
    with pytest.raises(IntegrityError):
        await adks.append(session, first)


async def late_clock(desk: Desk) -> list[float]:
    """Times of events as loaded, the second of which comes from a clock that is an hour late."""
    session = await desk.create("s")
    start = float(int(session.last_update_time)) + 10
    for seconds in (0, -3600, 1):
        await desk.append(session, event(timestamp=start + seconds))
        session = await desk.got("s")
    return [one.timestamp - start for one in session.events]


@over_all_stacks
async def test_a_late_clock_does_not_reorder(ours: Desk) -> None:
    assert await late_clock(ours) == [0, -3600, 1]
    assert len((await ours.got("s", num_recent_events=2)).events) == 2
    # Bounds by time are about the events' own clocks.
    last = (await ours.got("s")).last_update_time
    assert len((await ours.got("s", after_timestamp=last - 1800)).events) == 2


async def test_a_late_clock_reorders_in_adk(adks: Desk) -> None:
    assert await late_clock(adks) == [-3600, 0, 1]


async def create_many(desk: Desk) -> dict[str, Any]:
    """Create twenty sessions at once, each with keys of the app and of the user; what is kept."""
    creates = [
        desk.create(f"s{number}", state={f"app:k{number}": number, f"user:k{number}": number})
        for number in range(20)
    ]
    await asyncio.gather(*creates, return_exceptions=True)
    kept: dict[str, Any] = (await desk.create("last")).state
    return kept


@over_all_stacks
async def test_concurrent_creates_keep_every_key(ours: Desk) -> None:
    expected = {f"{scope}:k{number}": number for scope in ("app", "user") for number in range(20)}
    assert await create_many(ours) == expected


async def test_concurrent_creates_lose_keys_in_adk(adks_in_postgres: Desk) -> None:
    assert len(await create_many(adks_in_postgres)) < 40


#: Text that ADK's events take, but not every database.
TEXTS = {
    "NUL": "a\x00b",
    "a lone surrogate": "a\ud800b",
    "a pair of lone surrogates": "\ud83d\ude00",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufdd0",
}


def odd_event(text: str) -> Event:
    """An event with the text in all kinds of places, its id among them."""
    return event(
        {text: text, f"app:{text}": {text: [text]}, f"user:{text}": text},
        id=f"id-{text}",
        author=text,
        invocation_id=text,
        content=types.Content(
            parts=[
                types.Part(text=text),
                types.Part(function_call=types.FunctionCall(name=text, args={text: text})),
            ]
        ),
        custom_metadata={text: text},
        error_message=text,
    )


@over_all_stacks
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_odd_text_does_not_lose_an_event(ours: Desk, text: str) -> None:
    session = await ours.create("s", state={f"{text}0": text, "text": text})
    appended = odd_event(text)
    await ours.append(session, appended)
    await ours.append(session, appended.model_copy(deep=True))
    assert session.events == [appended]
    found = await ours.got("s")
    assert found == session
    assert found.state == {
        f"{text}0": text,
        "text": text,
        text: text,
        f"app:{text}": {text: [text]},
        f"user:{text}": text,
    }
    (listed,) = await ours.list()
    assert listed.state == found.state
    assert await ours.user_state() == {text: text}


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
async def test_odd_text_loses_the_event_in_adk(adks_in_postgres: Desk, text: str) -> None:
    session = await adks_in_postgres.create(f"s-{ord(text[1])}")
    odd = event(content=types.Content(parts=[types.Part(text=text)]))
    with pytest.raises((DBAPIError, UnicodeEncodeError)):
        await adks_in_postgres.append(session, odd)
    assert (await adks_in_postgres.got(session.id)).events == []


NUMBERS = [float("inf"), float("-inf"), 2**64, 2**4096, -(2**14000), -0.0, 5e-324]


@over_celery
async def test_numbers_stay_what_they_are(ours: Desk) -> None:
    session = await ours.create("s", state={"numbers": NUMBERS})
    await ours.append(session, event({"later": NUMBERS}, custom_metadata={"numbers": NUMBERS}))
    await ours.append(session, event(avg_logprobs=float("-inf"), custom_metadata={"n": [1e400]}))
    found = await ours.got("s")
    assert found == session
    assert found.state == {"numbers": NUMBERS, "later": NUMBERS}
    not_a_number = event(custom_metadata={"x": float("nan")})
    await ours.append(session, not_a_number)
    (last,) = (await ours.got("s", num_recent_events=1)).events
    assert str(last.custom_metadata["x"]) == "nan"


async def test_numbers_that_are_not_finite_become_none_in_adk(adks: Desk) -> None:
    session = await adks.create("s")
    await adks.append(session, event(custom_metadata={"numbers": NUMBERS[:2]}))
    (found,) = (await adks.got("s")).events
    assert found.custom_metadata == {"numbers": [None, None]}


def asks_for_a_key() -> Event:
    """An event by which a tool asks for an API key."""
    scheme = APIKey.model_validate({"in": "header", "name": "X-Key"})
    asking = event()
    asking.actions.requested_auth_configs = {
        "call-1": AuthConfig(auth_scheme=scheme, credential_key="key")
    }
    return asking


@over_one_stack
async def test_an_authentication_scheme_stays_what_it_is(ours: Desk) -> None:
    session = await ours.create("s")
    await ours.append(session, asks_for_a_key())
    assert await ours.get("s") == session


async def test_an_authentication_scheme_becomes_another_in_adk(adks: Desk) -> None:
    session = await adks.create("s")
    await adks.append(session, asks_for_a_key())
    (found,) = (await adks.got("s")).events
    (config,) = found.actions.requested_auth_configs.values()
    assert not isinstance(config.auth_scheme, APIKey)


def insert_sessions(database_url: str, app: str, count: int) -> None:
    """Put sessions there, in no order."""
    now = datetime.now(timezone.utc)
    rows = [
        {
            "app": app,
            "user_id": f"user-{number % 7}",
            "session_id": f"{number:05}",
            "revision": 0,
            "last_seq": 0,
            "created_at": now,
            "updated_at": now - timedelta(seconds=number * 7919 % 10_007),
        }
        for number in range(count)
    ]
    database = Database(DatabaseOptions(database_url))
    with closing(database), database.write.begin() as connection:
        connection.execute(sessions.insert(), rows)


@over_one_stack
async def test_a_listing_of_10000_sessions_is_paged(
    stack: Stack, client: StorageClient, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_sessions(stack.database_url, app, 10_000)
    pages: list[int] = []
    ask = client.sessions.list

    def noting(*arguments: Any, **options: Any) -> Any:
        receipt = ask(*arguments, **options)
        receipt.add_done_callback(lambda done: pages.append(len(done.result())))
        return receipt

    monkeypatch.setattr(client.sessions, "list", noting)
    listed = await Desk(ZdkSessionService(client), app).list()
    order = [(one.last_update_time, one.user_id, one.id) for one in listed]
    assert order == sorted(order)
    assert len(set(order)) == sum(pages) == 10_000
    assert max(pages) == 500


@over_one_stack
async def test_an_id_that_was_stored_with_space(ours: Desk, client: StorageClient) -> None:
    """As ADK's database service stores it, from where it may have been brought over."""
    padded = SessionKey(ours.app, "u", " s ")
    await client.sessions.create(padded, {"k": "padded"})
    await ours.create("s", state={"k": "plain"})
    with pytest.raises(AlreadyExistsError):
        await ours.create(" s ")
    assert (await ours.got(" s ")).state == {"k": "padded"}
    assert (await ours.got(" s")).state == {"k": "plain"}
    await ours.append(await ours.got(" s "), event())
    await ours.delete(" s ")
    assert [one.id for one in await ours.list()] == ["s"]


BAD_NAMES = ["", "a\x00", "\ud800", "x" * 257]


@over_one_stack
@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_that_no_session_can_have(ours: Desk, name: str) -> None:
    nowhere = Desk(ours.service, name)
    for desk, user, session_id in ((nowhere, "u", "s"), (ours, name, "s"), (ours, "u", name)):
        assert await desk.get(session_id, user) is None
        await desk.delete(session_id, user)
        unknown = Session(app_name=desk.app, user_id=user, id=session_id)
        with pytest.raises(SessionNotFoundError):
            await desk.append(unknown, event())
        # Without an id one is made.
        if (desk, user, session_id) != (ours, "u", ""):
            with pytest.raises(InvalidRequest):
                await desk.create(session_id, user)
    assert await nowhere.list() == await ours.list(name) == []
    assert await nowhere.user_state() == await ours.user_state(name) == {}


@over_one_stack
async def test_an_event_that_is_too_large(ours: Desk) -> None:
    session = await ours.create("s")
    part = types.Part.from_bytes(data=bytes(4 * 1024**2), mime_type="image/png")
    large = event({"k": 1, "temp:k": 1}, content=types.Content(parts=[part]))
    with pytest.raises(TooLarge, match="the limit is 4,194,304"):
        await ours.append(session, large)
    assert (session.events, session.state) == ([], {})
    assert large.actions.state_delta == {"k": 1, "temp:k": 1}
    assert await ours.get("s") == session


@over_celery
async def test_a_session_of_2000_events(ours: Desk, client: StorageClient) -> None:
    await ours.create("s")
    many = [event({"n": number}) for number in range(2000)]
    for part in (many[:1000], many[1000:]):
        await client.sessions.append(SessionKey(ours.app, "u", "s"), [*map(from_adk, part)])
    found = await ours.got("s")
    assert found.events == many
    assert found.state == {"n": 1999}
    assert (await ours.got("s", num_recent_events=20)).events == many[-20:]
