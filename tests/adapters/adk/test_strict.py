"""``strict=True``: ADK's own stale check, but exact."""

from __future__ import annotations

import asyncio

import pytest
from google.adk.errors import StaleSessionError
from google.adk.sessions import DatabaseSessionService, Session

from api_client import InvalidRequest, StorageClient
from api_client.adapters.adk import ZdkSessionService
from tests.adapters.adk.conftest import over_one_stack
from tests.adapters.adk.session_contract import DatabaseDesk, Desk, event, ids


@pytest.fixture
def ours(client: StorageClient, app: str) -> Desk:
    return Desk(ZdkSessionService(client, strict=True), app)


@pytest.fixture
def adks(app: str) -> Desk:
    return DatabaseDesk(DatabaseSessionService("sqlite+aiosqlite:///:memory:"), app)


@pytest.fixture(params=["ours", "adks"])
def desk(request: pytest.FixtureRequest, ours: Desk, adks: Desk) -> Desk:
    return ours if request.param == "ours" else adks


pytestmark = over_one_stack


async def test_a_stale_holder_is_refused(desk: Desk) -> None:
    stale = await desk.create("s")
    await desk.append(stale, event(timestamp=stale.last_update_time + 1))
    fresh = await desk.got("s")
    await desk.append(fresh, event({"k": 1}, timestamp=fresh.last_update_time + 1))

    with pytest.raises(StaleSessionError, match="modified in storage"):
        await desk.append(stale, event({"k": 2}, timestamp=fresh.last_update_time + 1))
    assert len(stale.events) == 1
    assert "k" not in stale.state
    assert await desk.get("s") == fresh

    again = await desk.got("s")
    await desk.append(again, event({"k": 3}, timestamp=fresh.last_update_time + 1))
    assert (await desk.got("s")).state == {"k": 3}


async def test_of_two_at_once_one_is_refused(desk: Desk) -> None:
    session = await desk.create("s")
    for round_ in range(3):
        holders = [(await desk.got("s")).model_copy(deep=True) for _ in range(2)]
        start = holders[0].last_update_time
        done = await asyncio.gather(
            *(
                desk.append(holder, event(timestamp=start + 10 + number))
                for number, holder in enumerate(holders)
            ),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in done) == ["Event", "StaleSessionError"]
        assert len((await desk.got("s")).events) == round_ + 1
    assert session.events == []


async def test_a_session_without_a_marker_is_compared_with_what_is_stored(desk: Desk) -> None:
    session = await desk.create("s")
    await desk.append(session, event(timestamp=session.last_update_time + 10))
    session._storage_update_marker = None
    session.last_update_time -= 0.0001
    await desk.append(session, event(timestamp=session.last_update_time + 10))
    assert ids((await desk.got("s")).events) == ids(session.events)

    made_by_hand = Session(app_name=desk.app, user_id="u", id="s")
    with pytest.raises(StaleSessionError):
        await desk.append(made_by_hand, event(timestamp=session.last_update_time + 10))
    made_by_hand.last_update_time = session.last_update_time
    await desk.append(made_by_hand, event(timestamp=session.last_update_time + 10))
    assert len((await desk.got("s")).events) == 3


async def test_equal_timestamps_are_no_way_around(ours: Desk, adks: Desk) -> None:
    for desk in (ours, adks):
        session = await desk.create("s")
        stale = session.model_copy(deep=True)
        # The clock of this event stands still.
        await desk.append(session, event({"k": 1}, timestamp=session.last_update_time))
        late = event({"k": 2}, timestamp=session.last_update_time)
        if desk is ours:
            with pytest.raises(StaleSessionError):
                await desk.append(stale, late)
        else:
            await desk.append(stale, late)
        assert len((await desk.got("s")).events) == (1 if desk is ours else 2)


async def test_the_same_event_again_is_not_stale(ours: Desk) -> None:
    session = await ours.create("s")
    first, second = event({"k": 1}), event({"k": 2})
    await ours.append(session, first)
    await ours.append(session, second)
    await ours.append(session, first)
    await ours.append(session, event({"k": 3}))
    assert await ours.get("s") == session


async def test_an_event_that_a_bounded_load_has_left_out_is_no_news(ours: Desk) -> None:
    session = await ours.create("s")
    for number in range(4):
        await ours.append(session, event({"k": number}))
    holder = await ours.got("s", num_recent_events=1)
    await ours.append(holder, session.events[1])
    await ours.append(holder, event({"k": 4}))
    assert len((await ours.got("s")).events) == 5
    with pytest.raises(StaleSessionError):
        await ours.append(session, event({"k": 5}))


def test_strict_and_accepted_exclude_one_another(client: StorageClient) -> None:
    with pytest.raises(InvalidRequest, match="strict"):
        ZdkSessionService(client, ack="accepted", strict=True)
