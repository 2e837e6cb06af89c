"""What ADK's session services promise, stated once. `test_sessions` runs it over ours, and over
ADK's own services, which shows that it is ADK's contract and not merely what ours does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from google.adk.errors.already_exists_error import AlreadyExistsError
from google.adk.errors.session_not_found_error import SessionNotFoundError
from google.adk.events import Event, EventActions
from google.adk.sessions import BaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.tools.tool_confirmation import ToolConfirmation
from google.genai import types

#: Values of state that come back as they were.
STATE: dict[str, Any] = {
    "text": "é 日本語 😀 \u2028 \"'\\",
    "none": None,
    "numbers": [0, -1, 2**53 + 1, 0.1, 1e300],
    "flags": {"yes": True, "no": False},
    "empty": [{}, [], ""],
}


def event(state: dict[str, Any] | None = None, **fields: Any) -> Event:
    """An event of a user, with a state delta."""
    fields = {"author": "user", "invocation_id": "i-1", **fields}
    return Event(actions=EventActions(state_delta=state or {}), **fields)


def ids(events: list[Event]) -> list[str]:
    """Their ids, in order."""
    return [one.id for one in events]


class Desk:
    """A service with an app that only this test uses, so that calls stay short."""

    def __init__(self, service: BaseSessionService, app: str):
        self.service = service
        self.app = app

    async def create(self, session_id: str | None = None, user: str = "u", **more: Any) -> Session:
        return await self.service.create_session(
            app_name=self.app, user_id=user, session_id=session_id, **more
        )

    async def get(self, session_id: str, user: str = "u", **config: Any) -> Session | None:
        return await self.service.get_session(
            app_name=self.app,
            user_id=user,
            session_id=session_id,
            config=GetSessionConfig(**config) if config else None,
        )

    async def got(self, session_id: str, user: str = "u", **config: Any) -> Session:
        found = await self.get(session_id, user, **config)
        assert found is not None
        return found

    async def append(self, session: Session, appended: Event) -> Event:
        return await self.service.append_event(session=session, event=appended)

    async def list(self, user: str | None = None) -> list[Session]:
        response = await self.service.list_sessions(app_name=self.app, user_id=user)
        return list(response.sessions)

    async def delete(self, session_id: str, user: str = "u") -> None:
        await self.service.delete_session(app_name=self.app, user_id=user, session_id=session_id)

    async def user_state(self, user: str = "u") -> dict[str, Any]:
        found: dict[str, Any] = await self.service.get_user_state(app_name=self.app, user_id=user)
        return found


class DatabaseDesk(Desk):
    """One over ADK's database service, which has to be closed in the event loop that used it."""

    async def close(self) -> None:
        await self.service.close()


class SessionContract:
    """Give it a fixture ``desk``."""

    async def test_create_and_get(self, desk: Desk) -> None:
        before = time.time()
        created = await desk.create("s", state=STATE)
        assert (created.app_name, created.user_id, created.id) == (desk.app, "u", "s")
        assert (created.state, created.events) == (STATE, [])
        assert before - 1 <= created.last_update_time <= time.time() + 1
        assert await desk.get("s") == created

    async def test_an_id_is_made(self, desk: Desk) -> None:
        one, other = await desk.create(), await desk.create()
        assert one.id
        assert one.id != other.id
        assert await desk.get(one.id) == one

    @pytest.mark.parametrize("state", [None, {}])
    async def test_no_state(self, desk: Desk, state: dict[str, Any] | None) -> None:
        assert (await desk.create("s", state=state)).state == {}
        assert (await desk.got("s")).state == {}

    async def test_a_session_that_exists(self, desk: Desk) -> None:
        await desk.create("s", state={"k": "first", "user:k": "first"})
        with pytest.raises(AlreadyExistsError, match="s"):
            await desk.create("s", state={"k": "second", "user:k": "second"})
        assert (await desk.got("s")).state == {"k": "first", "user:k": "first"}
        await desk.create("s", user="another")
        await Desk(desk.service, f"{desk.app}-2").create("s")

    async def test_one_of_two_creates_at_once_wins(self, desk: Desk) -> None:
        await desk.create("warm-up")
        both = await asyncio.gather(desk.create("s"), desk.create("s"), return_exceptions=True)
        assert sorted(type(one).__name__ for one in both) == ["AlreadyExistsError", "Session"]

    async def test_none_where_there_is_none(self, desk: Desk) -> None:
        await desk.create("s")
        assert await desk.get("another") is None
        assert await desk.get("s", user="another") is None
        assert await Desk(desk.service, f"{desk.app}-2").get("s") is None

    async def test_state_lives_in_three_scopes(self, desk: Desk) -> None:
        first = await desk.create("s", state={"own": 1, "user:x": 1, "app:x": 1, "temp:x": 1})
        assert first.state == {"own": 1, "user:x": 1, "app:x": 1}
        assert (await desk.create("t")).state == {"user:x": 1, "app:x": 1}
        assert (await desk.create("s", user="v")).state == {"app:x": 1}
        await desk.append(first, event({"own": 2, "user:x": 2, "app:x": 2}))
        assert (await desk.got("s")).state == {"own": 2, "user:x": 2, "app:x": 2}
        assert (await desk.got("t")).state == {"user:x": 2, "app:x": 2}
        assert (await desk.got("s", user="v")).state == {"app:x": 2}
        assert (await Desk(desk.service, f"{desk.app}-2").create("s")).state == {}

    async def test_append_updates_the_callers_session(self, desk: Desk) -> None:
        session = await desk.create("s", state={"k": 0})
        appended = event({"k": 1, "app:a": 2, "user:u": 3}, timestamp=session.last_update_time + 5)
        assert await desk.append(session, appended) is appended
        assert session.events == [appended]
        assert session.state == {"k": 1, "app:a": 2, "user:u": 3}
        assert session.last_update_time == pytest.approx(appended.timestamp, abs=1e-6)
        assert await desk.get("s") == session

    async def test_last_update_time_is_the_last_events(self, desk: Desk) -> None:
        session = await desk.create("s")
        for seconds in (10, 20):
            await desk.append(session, event(timestamp=session.last_update_time + seconds))
        last = session.events[-1].timestamp
        configs: list[dict[str, Any]] = [{}, {"num_recent_events": 0}, {"num_recent_events": 1}]
        for config in configs:
            found = await desk.got("s", **config)
            assert found.last_update_time == pytest.approx(last, abs=1e-6)
        found = await desk.got("s", after_timestamp=last + 1)
        assert (found.events, found.last_update_time) == ([], pytest.approx(last, abs=1e-6))
        (listed,) = await desk.list()
        assert listed.last_update_time == pytest.approx(last, abs=1e-6)

    async def test_deltas_replace_and_none_is_a_value(self, desk: Desk) -> None:
        state = {"d": {"a": 1}, "app:d": {"a": 1}, "user:d": {"a": 1}, "kept": False}
        session = await desk.create("s", state=state)
        delta = {"d": {"b": 2}, "app:d": {"b": 2}, "user:d": None, "new": None}
        await desk.append(session, event(delta))
        expected = {**state, **delta}
        assert session.state == expected
        reloaded = await desk.got("s")
        assert reloaded.state == expected
        assert reloaded.state["kept"] is False

    async def test_temporary_state_is_for_the_callers_session_only(self, desk: Desk) -> None:
        session = await desk.create("s", state={"temp:start": 1})
        assert session.state == {}
        appended = event({"temp:k": "now", "k": "later"})
        await desk.append(session, appended)
        assert session.state == {"temp:k": "now", "k": "later"}
        assert appended.actions.state_delta == {"k": "later"}
        reloaded = await desk.got("s")
        assert reloaded.state == {"k": "later"}
        assert reloaded.events[0].actions.state_delta == {"k": "later"}

    async def test_partial_events_are_not_stored(self, desk: Desk) -> None:
        session = await desk.create("s")
        partial = event({"k": 1, "temp:k": 1}, partial=True)
        assert await desk.append(session, partial) is partial
        assert (session.events, session.state) == ([], {})
        assert partial.actions.state_delta == {"k": 1, "temp:k": 1}
        assert await desk.get("s") == session

    async def test_append_to_a_session_that_is_not_there(self, desk: Desk) -> None:
        with pytest.raises(SessionNotFoundError):
            await desk.append(Session(app_name=desk.app, user_id="u", id="never"), event())
        session = await desk.create("s")
        await desk.delete("s")
        with pytest.raises(SessionNotFoundError):
            await desk.append(session, event())
        assert session.events == []

    async def test_events_keep_their_order(self, desk: Desk) -> None:
        session = await desk.create("s")
        for number in range(10):
            await desk.append(session, event({"n": number}, timestamp=1000.0 + number))
        assert await desk.get("s") == session
        assert len(ids(session.events)) == 10

    async def test_concurrent_appends_to_one_session_object(self, desk: Desk) -> None:
        session = await desk.create("s")
        start = time.time()
        many = [event({f"k{n}": n}, timestamp=start + n) for n in range(10)]
        await asyncio.gather(*(desk.append(session, one) for one in many))
        reloaded = await desk.got("s")
        assert sorted(ids(reloaded.events)) == sorted(ids(session.events)) == sorted(ids(many))
        assert reloaded.state == session.state == {f"k{n}": n for n in range(10)}

    async def test_an_event_comes_back_equal(self, desk: Desk) -> None:
        session = await desk.create("s")
        appended = event(
            {"k": 1},
            author="agent",
            timestamp=1700000000.123456,
            branch="a.b",
            content=types.Content(
                role="model",
                parts=[
                    types.Part(text="é 日本語 😀"),
                    types.Part(text="thinking", thought=True, thought_signature=b"\x00\xff"),
                    types.Part.from_bytes(data=bytes(range(256)), mime_type="image/png"),
                    types.Part.from_uri(file_uri="gs://b/x.pdf", mime_type="application/pdf"),
                    types.Part(
                        function_call=types.FunctionCall(
                            id="call-1", name="f", args={"a": [None, {"b": None}]}
                        )
                    ),
                    types.Part(
                        function_response=types.FunctionResponse(
                            id="call-0", name="g", response={"result": None}
                        )
                    ),
                    types.Part.from_executable_code(code="1+1", language=types.Language.PYTHON),
                    types.Part.from_code_execution_result(
                        outcome=types.Outcome.OUTCOME_OK, output="2"
                    ),
                ],
            ),
            long_running_tool_ids={"call-1", "call-2"},
            grounding_metadata=types.GroundingMetadata(
                web_search_queries=["q"],
                search_entry_point=types.SearchEntryPoint(sdk_blob=b"\x00\xfe"),
            ),
            citation_metadata=types.CitationMetadata(
                citations=[types.Citation(uri="https://example.org", start_index=0, end_index=3)]
            ),
            usage_metadata=types.GenerateContentResponseUsageMetadata(total_token_count=3),
            custom_metadata={"a": {"none": None}},
            error_code="SAFETY",
            error_message="blocked",
            finish_reason=types.FinishReason.SAFETY,
            turn_complete=True,
            interrupted=True,
        )
        appended.actions.escalate = True
        appended.actions.artifact_delta = {"file": 0}
        appended.actions.requested_tool_confirmations = {
            "call-1": ToolConfirmation(hint="sure?", confirmed=False, payload={"x": [1, None]})
        }
        before = appended.model_copy(deep=True)
        await desk.append(session, appended)
        assert appended == before
        reloaded = await desk.got("s")
        assert reloaded.events == [before]
        assert reloaded.events[0].timestamp == before.timestamp

    async def test_which_events_to_get(self, desk: Desk) -> None:
        session = await desk.create("s")
        start = float(int(time.time()))
        many = [event(timestamp=start + n) for n in range(1, 6)]
        for one in many:
            await desk.append(session, one)

        async def found(**config: Any) -> list[float]:
            return [one.timestamp - start for one in (await desk.got("s", **config)).events]

        assert await found() == [1, 2, 3, 4, 5]
        assert await found(num_recent_events=0) == []
        assert await found(num_recent_events=3) == [3, 4, 5]
        assert await found(num_recent_events=9) == [1, 2, 3, 4, 5]
        assert await found(after_timestamp=start + 4) == [4, 5]
        assert await found(after_timestamp=start + 3.5) == [4, 5]
        assert await found(after_timestamp=start + 50) == []
        assert await found(num_recent_events=3, after_timestamp=start + 4) == [4, 5]
        assert await found(num_recent_events=1, after_timestamp=start + 2) == [5]
        assert await found(num_recent_events=0, after_timestamp=start) == []

    async def test_state_does_not_depend_on_the_events_asked_for(self, desk: Desk) -> None:
        session = await desk.create("s", state={"user:x": 1})
        await desk.append(session, event({"k": 1}))
        await desk.append(session, event({"k": 2}))
        for count in (0, 1):
            assert (await desk.got("s", num_recent_events=count)).state == {"user:x": 1, "k": 2}

    async def test_a_negative_number_of_events(self, desk: Desk) -> None:
        await desk.create("s")
        with pytest.raises(ValueError, match="num_recent_events"):
            await desk.get("s", num_recent_events=-1)

    async def test_list_merges_state_and_leaves_events_out(self, desk: Desk) -> None:
        session = await desk.create("s", state={"own": 1, "app:x": 1, "user:x": 1, "temp:x": 1})
        await desk.append(session, event({"own": 2}))
        await desk.create("t")
        await desk.create("s", user="v")
        shared = {"app:x": 1}
        states = {(one.user_id, one.id): one.state for one in await desk.list()}
        assert states == {
            ("u", "s"): {"own": 2, "user:x": 1, **shared},
            ("u", "t"): {"user:x": 1, **shared},
            ("v", "s"): shared,
        }
        assert {one.id for one in await desk.list("u")} == {"s", "t"}
        assert all(one.events == [] for one in await desk.list())
        assert await desk.list("nobody") == []
        assert await Desk(desk.service, f"{desk.app}-2").list() == []

    async def test_list_begins_with_the_oldest_update(self, desk: Desk) -> None:
        sessions = {name: await desk.create(name) for name in ("a", "b", "c")}
        start = sessions["c"].last_update_time
        for seconds, name in enumerate(("b", "a"), 10):
            await desk.append(sessions[name], event(timestamp=start + seconds))
        assert [one.id for one in await desk.list()] == ["c", "b", "a"]
        assert [one.id for one in await desk.list("u")] == ["c", "b", "a"]

    async def test_delete(self, desk: Desk) -> None:
        session = await desk.create("s", state={"own": 1, "user:x": 1, "app:x": 1})
        await desk.append(session, event())
        await desk.create("s", user="v")
        await desk.delete("s")
        assert await desk.get("s") is None
        assert [one.user_id for one in await desk.list()] == ["v"]
        await desk.delete("s")
        await desk.delete("never")
        again = await desk.create("s")
        assert (again.events, again.state) == ([], {"user:x": 1, "app:x": 1})

    async def test_user_state(self, desk: Desk) -> None:
        assert await desk.user_state() == {}
        session = await desk.create("s", state={"user:a": 1, "own": 1, "app:a": 1})
        await desk.append(session, event({"user:b": {"c": None}, "user:a": 2}))
        assert await desk.user_state() == {"a": 2, "b": {"c": None}}
        assert await desk.user_state("another") == {}
        assert await Desk(desk.service, f"{desk.app}-2").user_state() == {}
        await desk.delete("s")
        assert await desk.user_state() == {"a": 2, "b": {"c": None}}

    async def test_what_is_given_out_is_the_callers(self, desk: Desk) -> None:
        session = await desk.create("s", state={"own": {"x": 1}, "user:x": {"x": 1}})
        await desk.append(session, event(content=types.Content(parts=[types.Part(text="a")])))
        session.state["own"]["x"] = 2
        (await desk.got("s")).state["user:x"]["x"] = 2
        (await desk.list())[0].state["own"]["x"] = 2
        (await desk.user_state())["x"]["x"] = 2
        found = await desk.got("s")
        assert found.state == {"own": {"x": 1}, "user:x": {"x": 1}}

    async def test_flush(self, desk: Desk) -> None:
        await desk.service.flush()
        session = await desk.create("s")
        await desk.append(session, event({"k": 1}))
        await desk.service.flush()
        assert await desk.get("s") == session


class StoredFormContract:
    """What ADK's database services promise beyond the one in memory. Give it ``desk``."""

    async def test_values_without_a_json_form_become_text(self, desk: Desk) -> None:
        session = await desk.create("s", state={"made": print, "ok": (1, 2)})
        await desk.append(session, event({"made later": print, "ok": 3}))
        found = await desk.got("s")
        assert found.state["ok"] == 3
        assert isinstance(found.state["made"], str)
        assert isinstance(found.state["made later"], str)
        assert len(found.events) == 1


class PaddedIdContract:
    """What ADK's services in memory and over SQLite promise of ids. Give it ``desk``."""

    async def test_space_around_an_id_does_not_count(self, desk: Desk) -> None:
        created = await desk.create("  s ", state={"k": 1})
        assert created.id == "s"
        with pytest.raises(AlreadyExistsError):
            await desk.create(" s")
        assert await desk.get(" s\n") == created
        await desk.append(await desk.got(" s "), event({"k": 2}))
        assert (await desk.got("s")).state == {"k": 2}
        await desk.delete(" s")
        assert await desk.get("s") is None

    async def test_nothing_but_space_is_no_id(self, desk: Desk) -> None:
        assert (await desk.create("   ")).id.strip()
        assert (await desk.create("")).id.strip()
        assert await desk.get("  ") is None
