"""``ack="accepted"``: an append returns once it is durable; what fails later is not silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.genai import types

from api_client import NotFound, SessionKey, StorageClient, Unavailable
from api_client.adapters.adk import ZdkSessionService, sessions
from tests.adapters.adk.conftest import over_one_stack
from tests.adapters.adk.session_contract import Desk, event, ids
from tests.support.locks import held_sessions
from tests.support.stores import letters, open_store
from tests.support.workers import Stack

over_postgres = pytest.mark.parametrize(
    "stack", ["postgresql-local", "postgresql-celery"], indirect=True
)


@pytest.fixture
def durable(stack: Stack, tmp_path: Path) -> Iterator[StorageClient]:
    """A client with an outbox file; without one, a local client accepts what it has applied."""
    with stack.open(tmp_path / "outbox.db") as client:
        yield client


@pytest.fixture
def desk(durable: StorageClient, app: str) -> Desk:
    return Desk(ZdkSessionService(durable, ack="accepted"), app)


async def delete_elsewhere(stack: Stack, desk: Desk, session_id: str) -> None:
    """Delete a session as another process would."""
    await stack.clients(1)[0].sessions.delete(SessionKey(desk.app, "u", session_id))


@over_postgres
async def test_an_append_returns_before_it_is_applied(
    stack: Stack, desk: Desk, durable: StorageClient
) -> None:
    session = await desk.create("s")
    with held_sessions(stack.database_url):
        for number in range(3):
            await desk.append(session, event({"n": number, "user:n": number}))
        assert durable.pending == 3
        reading = asyncio.create_task(desk.got("s"))
        listing = asyncio.create_task(desk.list())
        asking = asyncio.create_task(desk.user_state())
        flushing = asyncio.create_task(desk.service.flush())
        await asyncio.sleep(0)
        waiting = (reading, listing, asking, flushing)
        assert not any(task.done() for task in waiting)
    # Reads see what was accepted before.
    assert (await reading).events == session.events
    assert (await reading).state == session.state == {"n": 2, "user:n": 2}
    assert (await listing)[0].state == session.state
    assert await asking == {"n": 2}
    await flushing
    assert durable.pending == 0
    # Nothing is kept of what has gone well.
    assert len(desk.service._accepted) == 0


@over_postgres
async def test_applied_waits_without_blocking_the_loop(
    stack: Stack, durable: StorageClient, app: str
) -> None:
    desk = Desk(ZdkSessionService(durable), app)
    session = await desk.create("s")
    with held_sessions(stack.database_url):
        appending = asyncio.create_task(desk.append(session, event()))
        while not durable.pending:
            await asyncio.sleep(0)
        assert not appending.done()
    await appending
    assert len(session.events) == 1


@over_postgres
@pytest.mark.parametrize("how", ["timed out", "cancelled"])
async def test_an_append_that_has_timed_out(
    stack: Stack, tmp_path: Path, app: str, how: str
) -> None:
    """Or was cancelled: it goes on, and appending the event again tells what became of it."""
    appended = event({"n": 1})
    with stack.open(tmp_path / "outbox.db", wait_timeout=0.2) as hasty:
        desk = Desk(ZdkSessionService(hasty if how == "timed out" else stack.clients(1)[0]), app)
        patient = Desk(ZdkSessionService(stack.clients(1)[0]), app)
        session = await patient.create("s")
        with held_sessions(stack.database_url):
            appending = asyncio.create_task(desk.append(session, appended))
            if how == "cancelled":
                await asyncio.sleep(0)
                appending.cancel()
            with pytest.raises((TimeoutError, asyncio.CancelledError)):
                await appending
        assert (session.events, session.state) == ([], {})
        hasty.flush()
        await patient.append(session, appended)
    assert (session.events, session.state) == ([appended], {"n": 1})
    assert await patient.get("s") == session


@over_one_stack
async def test_the_next_append_to_the_session_tells_of_a_failure(stack: Stack, desk: Desk) -> None:
    gone, kept = await desk.create("gone"), await desk.create("kept")
    await delete_elsewhere(stack, desk, "gone")
    lost = [event(), event()]
    for one in lost:
        await desk.append(gone, one)
    assert ids(gone.events) == ids(lost)
    # A read waits for them.
    assert await desk.get("gone") is None

    await desk.append(kept, event())
    with pytest.raises(SessionNotFoundError, match=f"^2 accepted .*{lost[0].id}") as raised:
        await desk.append(gone, event())
    assert isinstance(raised.value.__cause__, NotFound)
    assert len(gone.events) == 2
    # It was told once, and the next one is tried again.
    await desk.append(gone, event())
    with pytest.raises(SessionNotFoundError, match=r"^1 accepted"):
        await desk.service.flush()


@over_one_stack
async def test_flush_tells_of_failures(stack: Stack, desk: Desk) -> None:
    for name in ("a", "b", "c"):
        session = await desk.create(name)
        if name != "c":
            await delete_elsewhere(stack, desk, name)
        await desk.append(session, event())
    with pytest.raises(SessionNotFoundError) as raised:
        await desk.service.flush()
    # The first is whichever was known first.
    told = sorted([str(raised.value), *raised.value.__notes__], key=lambda text: "'b'" in text)
    assert ["session 'a'" in told[0], "session 'b'" in told[1], len(told)] == [True, True, 2]
    await desk.service.flush()
    assert len((await desk.got("c")).events) == 1


@over_one_stack
async def test_a_failure_is_logged_and_stays_a_dead_letter(
    stack: Stack, desk: Desk, durable: StorageClient, caplog: pytest.LogCaptureFixture
) -> None:
    session = await desk.create("s")
    await delete_elsewhere(stack, desk, "s")
    secret = types.Content(parts=[types.Part(text="a secret")])
    with caplog.at_level(logging.ERROR, "api_client.adapters.adk"):
        await desk.append(session, event(content=secret))
        with pytest.raises(SessionNotFoundError):
            await desk.service.flush()
    (record,) = caplog.records
    assert session.events[0].id in record.message
    assert "there is no session 's'" in record.message
    assert "a secret" not in caplog.text
    # By now the client has said which failures were seen.
    await asyncio.to_thread(durable.close)
    with closing(open_store(stack.database_url)) as storage:
        (letter,) = [one for one in letters(storage) if one.app == desk.app]
    assert letter.code == "not_found"


@over_postgres
async def test_flush_is_bounded(stack: Stack, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await desk.create("s")
    monkeypatch.setattr(sessions, "_FLUSH_SECONDS", 0.01)
    with held_sessions(stack.database_url):
        await desk.append(session, event())
        with pytest.raises(Unavailable, match="1 accepted"):
            await desk.service.flush()
    monkeypatch.undo()
    await desk.service.flush()
    assert (await desk.got("s")).events == session.events


@over_one_stack
async def test_the_same_event_twice(desk: Desk) -> None:
    session = await desk.create("s")
    appended = event({"n": 1})
    await desk.append(session, appended)
    await desk.append(session, event({"n": 2}))
    await desk.append(session, appended.model_copy(deep=True))
    assert len(session.events) == 2
    assert session.state == {"n": 2}
    await desk.service.flush()
    assert await desk.get("s") == session


@over_one_stack
def test_each_event_loop_may_use_the_service(desk: Desk) -> None:
    async def append(number: int) -> Any:
        session = await desk.create(f"s{number}")
        await desk.append(session, event())
        await desk.service.flush()
        return await desk.get(f"s{number}") == session

    assert all(asyncio.run(append(number)) for number in range(2))
