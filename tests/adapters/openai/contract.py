"""The contract of openai-agents' `Session`, as tests that any implementation can be put to.

The class has no tests of how something is stored; `test_framework_session` runs it against the
framework's own `SQLiteSession`, which shows that it states the contract and nothing beyond it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from agents import SessionSettings
from agents.memory import Session

from api_client import StorageError

#: Makes a session: a new conversation, unless told which.
OpenSession = Callable[..., Any]

#: Items of the kinds that a runner stores, and values that a careless store would change or lose.
ITEMS: dict[str, Any] = {
    "input": {"role": "user", "content": "hello"},
    "parts": {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "what is this?"},
            {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        ],
    },
    "output": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
    },
    "call": {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Köln"}',
    },
    "result": {"type": "function_call_output", "call_id": "call_1", "output": "18°"},
    "reasoning": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
    "empty": {},
    "like an operation": {"op": "clear"},
    "like a list": [{"op": "pop"}],
    "like what stands for another": {"zdk:exact": "bnVsbA=="},
    "numbers": {"content": [0, -0.0, 0.1, 1e300, 2**53 + 1, 10**30, True, None]},
    "beyond JSON": {"content": float("inf")},
    "huge integer": {"content": 2**5000},
    "key order": {"b": 1, "a": 2, "": 3},
    "unicode": {"content": "é e\u0301 日本語 😀 👩‍👩‍👧 \U0010ffff \u2028", "日": "\ufeff"},
    "NUL": {"content": "a\x00b", "a\x00b": 1},
    "lone surrogate": {"content": "a\ud83d", "\udc00": ["\ud800\x00"]},
    "deep": {"content": eval("[" * 98 + "]" * 98)},
    "deeper": {"content": eval("[" * 150 + "]" * 150)},
}


def message(content: object) -> Any:
    """An item of a user's."""
    return {"role": "user", "content": str(content)}


def messages(*contents: object) -> list[Any]:
    """Several."""
    return [*map(message, contents)]


class SessionContract:
    """Give it a fixture ``open_session``; see `OpenSession`."""

    def test_is_a_session(self, open_session: OpenSession) -> None:
        session = open_session("conversation_123")
        assert isinstance(session, Session)
        assert session.session_id == "conversation_123"
        assert session.session_settings == SessionSettings()

    def test_is_empty_at_first(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            assert await session.get_items() == []
            assert await session.get_items(limit=5) == []
            assert await session.pop_item() is None
            await session.clear_session()
            await session.add_items([])
            assert await session.get_items() == []

        asyncio.run(run())

    def test_gives_items_in_the_order_they_came(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            assert await session.add_items(messages(1, 2)) is None
            await session.add_items(messages(3))
            await session.add_items(messages(4, 5, 6))
            assert await session.get_items() == messages(1, 2, 3, 4, 5, 6)

        asyncio.run(run())

    def test_keeps_every_item_exactly(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items([*ITEMS.values()])
            found = await session.get_items()
            for name, stored in zip(ITEMS, found, strict=True):
                assert repr(stored) == repr(ITEMS[name]), name
            for name in reversed(ITEMS):
                assert repr(await session.pop_item()) == repr(ITEMS[name]), name

        asyncio.run(run())

    @pytest.mark.parametrize(
        ("limit", "found"),
        [(0, []), (1, [5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])],
    )
    def test_limit_gives_the_latest(
        self, open_session: OpenSession, limit: int, found: list[int]
    ) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3, 4, 5))
            assert await session.get_items(limit) == messages(*found)
            assert await session.get_items(limit=limit) == messages(*found)

        asyncio.run(run())

    def test_a_negative_limit_is_none(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3))
            assert await session.get_items(-1) == messages(1, 2, 3)

        asyncio.run(run())

    def test_settings_give_the_default_limit(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session(session_settings=SessionSettings(limit=2))
            await session.add_items(messages(1, 2, 3))
            assert await session.get_items() == messages(2, 3)
            assert await session.get_items(3) == messages(1, 2, 3)
            session.session_settings = SessionSettings(limit=1)
            assert await session.get_items() == messages(3)
            session.session_settings = None
            assert await session.get_items() == messages(1, 2, 3)
            of_a_dict = open_session(session_settings={"limit": 1})
            assert of_a_dict.session_settings == SessionSettings(limit=1)
            await of_a_dict.add_items(messages(1, 2))
            assert await of_a_dict.get_items() == messages(2)

        asyncio.run(run())

    def test_pops_the_last_first(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3))
            assert await session.pop_item() == message(3)
            assert await session.pop_item() == message(2)
            assert await session.get_items() == messages(1)
            await session.add_items(messages(4))
            assert await session.get_items(2) == messages(1, 4)
            assert [await session.pop_item() for _ in range(3)] == [*messages(4, 1), None]
            await session.add_items(messages(5))
            assert await session.get_items() == messages(5)

        asyncio.run(run())

    def test_clears(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3))
            await session.pop_item()
            await session.clear_session()
            await session.clear_session()
            assert await session.get_items() == []
            assert await session.pop_item() is None
            await session.add_items(messages(4, 5))
            assert await session.get_items() == messages(4, 5)
            assert await session.get_items(9) == messages(4, 5)
            assert [await session.pop_item() for _ in range(3)] == [*messages(5, 4), None]

        asyncio.run(run())

    def test_equal_items_are_several(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages("again", "again"))
            await session.add_items(messages("again", "again"))
            assert await session.get_items() == messages(*["again"] * 4)

        asyncio.run(run())

    def test_takes_a_large_batch(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(*range(2500)))
            assert await session.get_items() == messages(*range(2500))
            assert await session.get_items(7) == messages(*range(2493, 2500))
            assert await session.pop_item() == message(2499)
            await session.add_items(messages("next"))
            assert await session.get_items(2) == messages(2498, "next")
            assert len(await session.get_items(2400)) == 2400

        asyncio.run(run())

    def test_finds_items_beneath_many_pops(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(*range(40)))
            for _ in range(30):
                await session.pop_item()
            assert await session.get_items(2) == messages(8, 9)
            assert await session.get_items() == messages(*range(10))
            assert await session.pop_item() == message(9)

        asyncio.run(run())

    def test_keeps_conversations_apart(self, open_session: OpenSession) -> None:
        async def run() -> None:
            one, other = open_session("one"), open_session("other")
            await one.clear_session()
            await other.clear_session()
            await one.add_items(messages(1))
            await other.add_items(messages(2))
            await one.clear_session()
            assert await other.get_items() == messages(2)
            assert await one.pop_item() is None

        asyncio.run(run())

    def test_a_second_object_sees_the_same(self, open_session: OpenSession) -> None:
        async def run() -> None:
            one = open_session()
            other = open_session(one.session_id)
            await one.add_items(messages(1, 2))
            assert await other.get_items() == messages(1, 2)
            assert await other.pop_item() == message(2)
            await other.add_items(messages(3))
            assert await one.get_items() == messages(1, 3)
            await one.clear_session()
            assert await other.get_items() == []

        asyncio.run(run())

    def test_survives_its_event_loop(self, open_session: OpenSession) -> None:
        session = open_session()
        for n in range(3):
            asyncio.run(session.add_items(messages(n)))
        assert asyncio.run(session.get_items()) == messages(0, 1, 2)

    def test_keeps_no_reference_to_an_item(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            given = messages("as given")
            adding = asyncio.create_task(session.add_items(given))
            await adding
            given[0]["content"] = "changed"
            found = await session.get_items()
            found[0]["content"] = "changed"
            assert await session.get_items() == messages("as given")

        asyncio.run(run())

    def test_batches_stay_together(self, open_session: OpenSession) -> None:
        batches = [messages(*(f"{n}-{m}" for m in range(5))) for n in range(20)]

        async def run() -> None:
            session = open_session()
            await asyncio.gather(*map(session.add_items, batches))
            found = await session.get_items()
            groups = [found[start : start + 5] for start in range(0, 100, 5)]
            assert sorted(map(str, groups)) == sorted(map(str, batches))

        asyncio.run(run())

    def test_twenty_pops_at_once_get_twenty_items(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(*range(25)))
            popped = await asyncio.gather(*(session.pop_item() for _ in range(20)))
            assert sorted(int(item["content"]) for item in popped) == [*range(5, 25)]
            assert await session.get_items() == messages(*range(5))

        asyncio.run(run())

    def test_twenty_pops_of_three_items(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3))
            popped = await asyncio.gather(*(session.pop_item() for _ in range(20)))
            assert sorted(map(str, filter(None, popped))) == sorted(map(str, messages(1, 2, 3)))
            await session.add_items(messages(4))
            assert await session.get_items() == messages(4)

        asyncio.run(run())

    def test_pops_beside_adds_lose_nothing(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(*range(10)))
            popping = [session.pop_item() for _ in range(10)]
            adding = [session.add_items(messages(n)) for n in range(10, 20)]
            mixed = [call for pair in zip(popping, adding, strict=True) for call in pair]
            popped = (await asyncio.gather(*mixed))[::2]
            left = await session.get_items()
            assert sorted(int(item["content"]) for item in [*popped, *left]) == [*range(20)]

        asyncio.run(run())

    def test_a_cancelled_add_is_whole_or_not_at_all(self, open_session: OpenSession) -> None:
        batch = messages("a", "b", "c")

        async def run() -> None:
            session = open_session()
            await session.add_items(messages("first"))
            for steps in range(4):
                adding = asyncio.create_task(session.add_items(batch))
                for _ in range(steps):
                    await asyncio.sleep(0)
                adding.cancel()
                await asyncio.gather(adding, return_exceptions=True)
            first, *rest = await session.get_items()
            assert first == message("first")
            assert rest == batch * (len(rest) // 3)

        asyncio.run(run())

    def test_a_cancelled_pop_takes_one_item_or_none(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            await session.add_items(messages(1, 2, 3))
            popping = asyncio.create_task(session.pop_item())
            await asyncio.sleep(0)
            popping.cancel()
            await asyncio.gather(popping, return_exceptions=True)
            assert await session.get_items() in (messages(1, 2), messages(1, 2, 3))

        asyncio.run(run())

    def test_refuses_what_is_no_json(self, open_session: OpenSession) -> None:
        async def run() -> None:
            session = open_session()
            with pytest.raises((TypeError, StorageError)):
                await session.add_items([message(1), {"content": object()}])
            assert await session.get_items() == []

        asyncio.run(run())
