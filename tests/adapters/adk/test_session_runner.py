"""ADK's own Runner over the session service: tools, state, streaming, rewind, compaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import Agent, ParallelAgent, SequentialAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.apps.app import App, EventsCompactionConfig
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import InMemoryRunner, Runner
from google.adk.sessions import Session
from google.adk.tools import ToolContext
from google.genai import types

from api_client import StorageClient
from api_client.adapters.adk import ZdkSessionService
from tests.support.workers import Stack

pytestmark = pytest.mark.filterwarnings("ignore:.*(EXPERIMENTAL|deprecated)")
over_most = pytest.mark.parametrize(
    "stack", ["sqlite_file-local", "postgresql-celery"], indirect=True
)


class EchoModel(BaseLlm):  # type: ignore[misc]
    """Calls the tool ``note`` if told to, else says how many contents it was given, and the last
    text; when streaming, in two fragments first."""

    model: str = "echo"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        last = llm_request.contents[-1].parts[-1]
        if last.text and last.text.startswith("note "):
            call = types.Part.from_function_call(name="note", args={"word": last.text[5:]})
            yield response(call)
            return
        said = f"{len(llm_request.contents)}: {last.text or last.function_response.response}"
        if stream:
            for fragment in (said[:2], said[2:]):
                yield response(types.Part(text=fragment), partial=True)
        yield response(types.Part(text=said))


def response(part: types.Part, **more: Any) -> LlmResponse:
    return LlmResponse(content=types.Content(role="model", parts=[part]), **more)


def note(word: str, tool_context: ToolContext) -> dict[str, str]:
    """Note a word."""
    tool_context.state["word"] = word
    tool_context.state["user:words"] = [*tool_context.state.get("user:words", []), word]
    tool_context.state["app:last"] = word
    tool_context.state["temp:word"] = word
    return {"noted": word}


def agent(name: str = "echo", output_key: str | None = "said") -> Agent:
    return Agent(name=name, model=EchoModel(), tools=[note], output_key=output_key)


class Talk:
    """A conversation over a runner."""

    def __init__(self, runner: Runner, session_id: str):
        self.runner = runner
        self.session_id = session_id

    async def say(self, text: str, **options: Any) -> list[Any]:
        """Say something; the events that came of it."""
        message = types.Content(role="user", parts=[types.Part(text=text)])
        run = self.runner.run_async(
            user_id="u", session_id=self.session_id, new_message=message, **options
        )
        return [event async for event in run]

    async def rewind(self, invocation_id: str) -> None:
        await self.runner.rewind_async(
            user_id="u", session_id=self.session_id, rewind_before_invocation_id=invocation_id
        )

    async def session(self) -> Session:
        found = await self.runner.session_service.get_session(
            app_name=self.runner.app_name, user_id="u", session_id=self.session_id
        )
        assert found is not None
        return found


async def talk(runner: Runner) -> Talk:
    session = await runner.session_service.create_session(app_name=runner.app_name, user_id="u")
    return Talk(runner, session.id)


@contextmanager
def opened(stack: Stack, outbox: Path) -> Iterator[StorageClient]:
    """A client as a process of its own has it."""
    with stack.open(outbox) as client:
        yield client


@over_most
@pytest.mark.parametrize("ack", ["applied", "accepted"])
async def test_a_conversation_is_as_in_memory_and_survives_a_restart(
    stack: Stack, app: str, tmp_path: Path, ack: Any
) -> None:
    in_memory = await talk(InMemoryRunner(agent(), app_name=app))
    with opened(stack, tmp_path / "outbox.db") as client:
        service = ZdkSessionService(client, ack=ack)
        ours = await talk(Runner(app_name=app, agent=agent(), session_service=service))
        for one in (in_memory, ours):
            await one.say("hello")
            await one.say("note word")
        await ours.runner.close()
    with opened(stack, tmp_path / "outbox.db") as client:
        service = ZdkSessionService(client, ack=ack)
        ours = Talk(Runner(app_name=app, agent=agent(), session_service=service), ours.session_id)
        for one in (in_memory, ours):
            await one.say("and again")
        found, expected = await ours.session(), await in_memory.session()
    assert [text_of(event) for event in found.events] == [
        text_of(event) for event in expected.events
    ]
    assert len(found.events) == 8
    assert found.state == expected.state
    assert found.state["word"] == "word"
    assert found.state["user:words"] == ["word"]
    assert found.state["said"] == "7: and again"


def text_of(event: Any) -> tuple[str, str]:
    part = event.content.parts[-1]
    called = part.function_call or part.function_response
    return event.author, part.text or called.model_dump_json(exclude={"id"})


@over_most
async def test_rewind(client: StorageClient, app: str) -> None:
    runner = Runner(app_name=app, agent=agent(), session_service=ZdkSessionService(client))
    ours = await talk(runner)
    await ours.say("note first")
    before = await ours.session()
    second = await ours.say("note second")
    await ours.rewind(second[0].invocation_id)
    after = await ours.session()
    own = {"word", "said"}
    assert {name: after.state[name] for name in own} == {name: before.state[name] for name in own}
    # As ADK has it, what is the user's or the app's stays.
    assert after.state["user:words"] == ["first", "second"]
    # History is kept, and left out of what the model sees.
    assert len(after.events) > len(before.events)
    (answer,) = await ours.say("hello")
    assert text_of(answer)[1] == f"{len(before.events) + 1}: hello"


@over_most
async def test_compaction(client: StorageClient, app: str) -> None:
    config = EventsCompactionConfig(compaction_interval=2, overlap_size=0)
    name = app.replace("-", "_")
    compacting = App(name=name, root_agent=agent(), events_compaction_config=config)
    runner = Runner(app=compacting, session_service=ZdkSessionService(client))
    ours = await talk(runner)
    for text in ("one", "two"):
        await ours.say(text)
    last = (await ours.session()).events[-1]
    assert last.actions.compaction.compacted_content.parts[0].text
    (answer,) = await ours.say("three")
    # The summary, and the question.
    assert text_of(answer)[1] == "2: three"


@over_most
async def test_streaming_stores_whole_answers_only(client: StorageClient, app: str) -> None:
    runner = Runner(app_name=app, agent=agent(), session_service=ZdkSessionService(client))
    ours = await talk(runner)
    streamed = await ours.say("hello", run_config=RunConfig(streaming_mode=StreamingMode.SSE))
    assert [bool(event.partial) for event in streamed] == [True, True, False]
    found = await ours.session()
    assert [text_of(event)[1] for event in found.events] == ["hello", "1: hello"]
    assert found.state == {"said": "1: hello"}


@over_most
@pytest.mark.parametrize("strict", [False, True])
async def test_agents_in_turn_and_side_by_side(
    client: StorageClient, app: str, strict: bool
) -> None:
    team = SequentialAgent(
        name="team",
        sub_agents=[
            agent("first", output_key="temp:draft"),
            ParallelAgent(
                name="both", sub_agents=[agent(name, output_key=name) for name in ("left", "right")]
            ),
        ],
    )
    service = ZdkSessionService(client, strict=strict)
    ours = await talk(Runner(app_name=app, agent=team, session_service=service))
    drafts = await ours.say("hello")
    found = await ours.session()
    assert {event.author for event in drafts} == {"first", "left", "right"}
    assert set(found.state) == {"left", "right"}
    assert len(found.events) == 4


@over_most
async def test_two_runners_share_a_session(client: StorageClient, app: str) -> None:
    service = ZdkSessionService(client)
    ours = await talk(Runner(app_name=app, agent=agent(), session_service=service))
    other = Talk(Runner(app_name=app, agent=agent(), session_service=service), ours.session_id)
    said = await asyncio.gather(*(one.say(text) for one in (ours, other) for text in ("a", "b")))
    found = await ours.session()
    assert len(found.events) == 8
    assert {event.id for events in said for event in events} < {event.id for event in found.events}
