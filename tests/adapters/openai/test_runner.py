"""The framework's own runner with these sessions, beside its own `SQLiteSession`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    OpenAIResponsesCompactionSession,
    RunConfig,
    Runner,
    SessionSettings,
    SQLiteSession,
    function_tool,
)

from tests.adapters.openai.conftest import over_all_stacks
from tests.adapters.openai.contract import OpenSession, messages
from tests.adapters.openai.model import PlayedModel, calls, says

_QUIET: dict[str, Any] = {"tracing_disabled": True}


@function_tool  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: sunny \ud83d"


def agent_of(model: Any) -> Any:
    return Agent(name="Assistant", model=model, tools=[weather])


async def conversation(session: Any) -> tuple[list[Any], list[Any]]:
    """Two turns with a tool, a streamed one, one with a limit, one with a callback; returns what
    the model was asked and what the session then holds."""
    model = PlayedModel(
        calls("weather", '{"city": "Oslo"}', "1"), says("sunny"), says("streamed"), says("limited"),
        says("called back"),
    )  # fmt: skip
    agent = agent_of(model)

    def newest_first(history: list[Any], new: list[Any]) -> list[Any]:
        return [*reversed(history), *new]

    quiet = RunConfig(**_QUIET)
    await Runner.run(agent, "Oslo?", session=session, run_config=quiet)
    streamed = Runner.run_streamed(agent, "stream", session=session, run_config=quiet)
    async for _ in streamed.stream_events():
        pass
    limited = RunConfig(session_settings=SessionSettings(limit=2), **_QUIET)
    await Runner.run(agent, "limit", session=session, run_config=limited)
    called = RunConfig(session_input_callback=newest_first, **_QUIET)
    await Runner.run(agent, "callback", session=session, run_config=called)
    return model.inputs, await session.get_items()


@over_all_stacks
def test_a_conversation_is_as_in_the_framework(open_session: OpenSession, tmp_path: Path) -> None:
    own = SQLiteSession("own", tmp_path / "own.db")
    try:
        expected_inputs, expected_items = asyncio.run(conversation(own))
    finally:
        own.close()
    inputs, items = asyncio.run(conversation(open_session()))
    assert items == expected_items
    assert inputs == expected_inputs
    assert len(items) == 10
    assert [item["content"] for item in inputs[3] if item.get("role") == "user"] == [
        "stream",
        "limit",
    ]


@pytest.mark.parametrize("stack", ["postgresql-celery"], indirect=True)
def test_run_sync(open_session: OpenSession) -> None:
    session = open_session()
    agent = agent_of(PlayedModel(says("one"), says("two")))
    for line in ("first", "second"):
        Runner.run_sync(agent, line, session=session, run_config=RunConfig(**_QUIET))
    assert len(asyncio.run(session.get_items())) == 4


class Compacting:
    """Stands for the OpenAI client: compacts to one item."""

    def __init__(self) -> None:
        self.responses = self

    async def compact(self, **_: Any) -> Any:
        return type("Compacted", (), {"output": messages("in short"), "usage": None})()


@pytest.mark.parametrize("stack", ["postgresql-local"], indirect=True)
def test_compaction(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items(messages(*range(12)))
        client: Callable[..., Any] | Any = Compacting()
        compacting = OpenAIResponsesCompactionSession(session.session_id, session, client=client)
        await compacting.run_compaction({"force": True, "compaction_mode": "input"})
        await compacting.add_items(messages("next"))
        assert [item["content"] for item in await session.get_items()] == ["in short", "next"]

    asyncio.run(run())
