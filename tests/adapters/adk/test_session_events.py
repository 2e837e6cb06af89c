"""Events of ADK's go into the store and come back equal, field by field."""

from __future__ import annotations

import logging
from typing import Any, get_args

import msgspec
import pytest
from google.adk.events import Event, EventActions
from google.genai import types
from hypothesis import given
from pydantic import BaseModel, ValidationError

from api_client import Event as OurEvent
from api_client import InvalidRequest, SessionKey, StorageClient, StoredEvent
from api_client.adapters.adk import ZdkSessionService
from api_client.adapters.adk.events import from_adk, is_same, to_adk
from api_client.adapters.adk.jsonable import jsonable
from api_client.contract.events import encode_event
from tests.adapters.adk.conftest import STACKS, over_one_stack
from tests.adapters.adk.samples import ANYTHING, full_event, parts_of_every_kind
from tests.adapters.adk.session_contract import Desk, event
from tests.unit.test_exact import same, values


def stored(sent: OurEvent) -> OurEvent:
    """Our event as it comes out of the store."""
    return msgspec.json.decode(encode_event(sent), type=OurEvent)


def there_and_back(sent: Event) -> Event:
    return to_adk(stored(from_adk(sent)))


class TestEveryField:
    def test_the_sample_sets_every_field(self) -> None:
        sample = full_event()
        for model in (sample, sample.actions, sample.node_info, sample.content.parts[-1]):
            for name in type(model).model_fields:
                assert getattr(model, name) is not None, name

    def test_a_full_event(self) -> None:
        sent = full_event()
        assert there_and_back(sent) == sent

    @pytest.mark.parametrize("number", range(len(types.Part.model_fields)))
    def test_parts(self, number: int) -> None:
        sent = event(content=types.Content(parts=[parts_of_every_kind()[number]]))
        assert there_and_back(sent) == sent

    def test_an_empty_event(self) -> None:
        sent = Event()
        assert there_and_back(sent) == sent

    @pytest.mark.parametrize("odd", ["\ud800", float("inf"), 2**5000], ids=["text", "inf", "int"])
    def test_what_json_cannot_carry_changes_nothing_else(self, odd: Any) -> None:
        sent = full_event(custom_metadata={"odd": odd, "bytes": b"\xff"})
        expected = full_event(custom_metadata={"odd": odd, "bytes": "_w=="}, id=sent.id)
        assert there_and_back(sent) == expected

    @pytest.mark.parametrize(
        "timestamp", [0.0, -1.5, 1700000000.123456, 1700000000.1234567, 253402300799.0]
    )
    def test_timestamps(self, timestamp: float) -> None:
        sent = event(timestamp=timestamp)
        assert there_and_back(sent).timestamp == timestamp
        assert from_adk(sent).timestamp.timestamp() == pytest.approx(timestamp, abs=1e-6)

    def test_none_is_left_out_only_where_it_is_the_default(self) -> None:
        """Leaving it out elsewhere would bring back something else."""

        def check(model: type[BaseModel], seen: set[type]) -> None:
            seen.add(model)
            for name, field in model.model_fields.items():
                if type(None) in get_args(field.annotation):
                    assert field.get_default() is None, f"{model.__name__}.{name}"
                for inner in models_in(field.annotation):
                    if inner not in seen:
                        check(inner, seen)

        def models_in(kind: Any) -> list[type[BaseModel]]:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                return [kind]
            return [found for one in get_args(kind) for found in models_in(one)]

        check(Event, set())


class TestJsonable:
    @given(values)
    def test_json_is_left_as_it_is(self, value: Any) -> None:
        assert same(jsonable(value), value)

    def test_other_types_become_json_as_pydantic_has_it(self) -> None:
        given_ = {1: (1, {2}), "bytes": b"\xff\xfe", "nan": float("nan")}
        expected = {"1": [1, [2]], "bytes": "__4=", "nan": float("nan")}
        assert same(jsonable(given_), expected)

    def test_what_has_no_json_form(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            assert "print" in jsonable({"made": print})["made"]
        assert "repr" in caplog.text


class TestOurEvent:
    def test_what_others_see(self) -> None:
        sent = event({"k": 1, "temp:t": 2}, author="agent", timestamp=12.5, id="e-1")
        made = from_adk(sent)
        assert (made.id, made.author, made.invocation_id) == ("e-1", "agent", "i-1")
        assert made.timestamp.timestamp() == 12.5
        kept = stored(made)
        assert kept.state_delta == {"k": 1}
        assert kept.content["author"] == "agent"
        assert "state_delta" not in kept.content["actions"]
        assert to_adk(kept).actions.state_delta == {"k": 1}

    def test_the_given_event_is_left_as_it_is(self) -> None:
        sent = full_event()
        before = sent.model_copy(deep=True)
        from_adk(sent)
        assert sent == before

    def test_empty_names(self) -> None:
        made = from_adk(Event(id="e"))
        assert (made.author, made.invocation_id) == ("unknown", None)
        assert to_adk(stored(made)).author == ""

    def test_an_id_is_needed(self) -> None:
        nameless = Event()
        nameless.id = ""
        with pytest.raises(InvalidRequest, match="id"):
            from_adk(nameless)

    @pytest.mark.parametrize("timestamp", [float("nan"), float("inf"), 1e18, -1e18])
    def test_no_point_in_time(self, timestamp: float) -> None:
        with pytest.raises(InvalidRequest, match="timestamp is not a point in time"):
            from_adk(event(timestamp=timestamp))

    def test_no_json(self) -> None:
        with pytest.raises(InvalidRequest, match="no JSON form"):
            from_adk(event(custom_metadata={"made": print}))

    @pytest.mark.parametrize("levels", [1_000, 100_000])
    @pytest.mark.parametrize("beside", [0.0, float("nan")])
    def test_nesting_that_nobody_follows(self, levels: int, beside: float) -> None:
        deep: list[Any] = []
        for _ in range(levels):
            deep = [deep]
        with pytest.raises(InvalidRequest):
            from_adk(event({"k": deep, "beside": beside}))
        with pytest.raises(InvalidRequest):
            from_adk(event(custom_metadata={"k": deep, "beside": beside}))

    def test_partial(self) -> None:
        assert from_adk(event(partial=True)).partial

    def test_same(self) -> None:
        one = event({"k": float("nan")}, custom_metadata={"x": float("nan")})
        again = one.model_copy(update={"timestamp": one.timestamp + 1}, deep=True)
        assert is_same(one, again)
        again.actions.state_delta["k"] = 0
        assert not is_same(one, again)
        assert not is_same(one, one.model_copy(update={"branch": "b"}))


class TestOtherReleases:
    """An event in the store is JSON of whatever release has written it."""

    def changed(self, **more: Any) -> OurEvent:
        made = stored(
            from_adk(event({"k": 1}, content=types.Content(parts=[types.Part(text="x")])))
        )
        made.content.update(more)
        return made

    def test_a_field_of_a_later_release_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        made = self.changed(of_tomorrow={"x": 1})
        made.content["actions"]["of_tomorrow"] = [1]
        made.content["content"]["parts"][0]["of_tomorrow"] = True
        made.content["content"]["parts"][0]["text"] = "kept"
        kept = msgspec.json.encode(made)
        with pytest.raises(ValidationError):
            Event.model_validate(made.content)
        with caplog.at_level(logging.WARNING):
            shown = to_adk(made)
        assert shown.content.parts == [types.Part(text="kept")]
        assert shown.actions.state_delta == {"k": 1}
        assert "actions.of_tomorrow" in caplog.text
        assert "content.parts.0.of_tomorrow" in caplog.text
        # What was read is not what is stored.
        assert msgspec.json.encode(made) == kept

    def test_what_is_wrong_otherwise_is_an_error(self) -> None:
        made = self.changed(turn_complete={"not": "a bool"})
        made.content["actions"]["of_tomorrow"] = 1
        with pytest.raises(ValidationError, match="turn_complete"):
            to_adk(made)

    def test_a_field_that_is_missing_is_its_default(self) -> None:
        made = self.changed()
        del made.content["node_info"], made.content["actions"]["artifact_delta"]
        assert to_adk(made).actions.artifact_delta == {}

    def test_names_in_camel_case(self) -> None:
        """As ADK's own API writes them."""
        made = self.changed(**{"errorCode": "E", "usageMetadata": {"totalTokenCount": 3}})
        assert to_adk(made).error_code == "E"
        assert to_adk(made).usage_metadata.total_token_count == 3

    @pytest.mark.parametrize(
        "content", [None, "text", [1], {"id": "x"}, {"actions": {"x": 1}}, ANYTHING]
    )
    def test_an_event_that_is_not_adks(self, content: Any) -> None:
        foreign = StoredEvent(seq=1, author="cli", content=content, state_delta={"k": 1})
        shown = to_adk(foreign)
        assert (shown.id, shown.author, shown.invocation_id) == (foreign.id, "cli", "")
        assert shown.timestamp == foreign.timestamp.timestamp()
        assert shown.actions == EventActions(state_delta={"k": 1})
        assert shown.custom_metadata == {"content": content}


@pytest.mark.parametrize("stack", STACKS, indirect=True)
async def test_a_full_event_through_the_service(service: ZdkSessionService, app: str) -> None:
    desk = Desk(service, app)
    session = await desk.create("s", state={"before": ANYTHING, "user:before": ANYTHING})
    sent = full_event()
    before = sent.model_copy(deep=True)
    await desk.append(session, sent)
    assert session.events == [before]
    found = await desk.got("s")
    assert found == session
    assert found.state["anything"] == found.state["before"] == ANYTHING


@over_one_stack
async def test_a_session_that_others_write_to(client: StorageClient, app: str) -> None:
    desk = Desk(ZdkSessionService(client), app)
    session = await desk.create("s")
    key = SessionKey(app, "u", "s")
    await client.sessions.append(key, OurEvent(author="cli", content="hi", state_delta={"k": 1}))
    await client.sessions.update_state(key, {"later": 2})
    await desk.append(session, event())
    found = await desk.got("s")
    assert [one.author for one in found.events] == ["cli", "user"]
    assert found.state == {"k": 1, "later": 2}


@over_one_stack
async def test_an_event_without_an_id_gets_one(client: StorageClient, app: str) -> None:
    desk = Desk(ZdkSessionService(client), app)
    session = await desk.create("s")
    nameless = event()
    nameless.id = ""
    await desk.append(session, nameless)
    assert nameless.id
    assert (await desk.got("s")).events == [nameless]
