"""What these sessions do that the framework's own do not, and what they do otherwise.

docs/openai-agents.md has a line for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from api_client import InvalidRequest, SessionKey, StorageClient, TooLarge
from api_client.adapters.openai import ZdkSession
from api_client.adapters.openai.history import CLEARED
from tests.adapters.openai.conftest import over_all_stacks
from tests.adapters.openai.contract import OpenSession, message, messages
from tests.support.programs import run_python
from tests.support.waiting import wait_until
from tests.support.workers import Stack
from worker import dead_letters
from worker.database import Database, DatabaseOptions

over_celery = pytest.mark.parametrize("stack", ["postgresql-celery"], indirect=True)
in_process = pytest.mark.parametrize("stack", ["sqlite_file-local"], indirect=True)

_MIB = 1024 * 1024


class Counting:
    """Passes calls on to a client's ``sessions``, and counts the events that loads have given."""

    def __init__(self, sessions: Any):
        self._sessions = sessions
        self.loads = self.events = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)

    async def load(self, *arguments: Any, **options: Any) -> Any:
        session = await self._sessions.load(*arguments, **options)
        self.loads += 1
        self.events += len(session.events)
        return session


def counting(session: Any) -> Counting:
    """Count from now on what this session loads."""
    session._sessions = counter = Counting(session._sessions)
    return counter


@over_celery
def test_accepted_items_outlive_process_and_broker(stack: Stack, app: str, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    nobody = StorageClient("redis://127.0.0.1:1/0", outbox)

    async def while_all_is_down() -> None:
        session = ZdkSession("one", nobody, app=app, ack="accepted")
        await session.add_items(messages(1, 2))
        await session.add_items(messages(3))

    asyncio.run(while_all_is_down())
    assert nobody.close(0) == 3

    with stack.open(outbox) as client:
        assert asyncio.run(ZdkSession("one", client, app=app).get_items()) == messages(1, 2, 3)


@over_all_stacks
def test_first_writes_at_once(clients: list[StorageClient], app: str) -> None:
    async def run() -> None:
        sessions = [ZdkSession("one", client, app=app) for client in clients for _ in range(5)]
        await asyncio.gather(*(s.add_items(messages(n, n)) for n, s in enumerate(sessions)))
        items: list[Any] = await sessions[0].get_items()
        found = [item["content"] for item in items]
        assert sorted(found) == sorted(f"{n}" for n in range(len(sessions)) for _ in "12")
        assert found[::2] == found[1::2]

    asyncio.run(run())


@over_all_stacks
def test_pops_of_two_clients(clients: list[StorageClient], app: str) -> None:
    async def run() -> None:
        sessions = [ZdkSession("one", client, app=app) for client in clients]
        await sessions[0].add_items(messages(*range(25)))
        popping = [session.pop_item() for session in sessions for _ in range(10)]
        popped: list[Any] = await asyncio.gather(*popping)
        assert sorted(int(item["content"]) for item in popped) == [*range(5, 25)]

    asyncio.run(run())


@over_celery
def test_a_clear_beside_adds_keeps_batches_whole(clients: list[StorageClient], app: str) -> None:
    async def run() -> None:
        adding, clearing = (ZdkSession("one", client, app=app) for client in clients)
        batches = [messages(*[n] * 3) for n in range(20)]
        await adding.add_items(messages("old"))
        await asyncio.gather(*map(adding.add_items, batches), clearing.clear_session())
        found = await clearing.get_items()
        assert found == [item for batch in batches[20 - len(found) // 3 :] for item in batch]

    asyncio.run(run())


class Overtaken(ZdkSession):
    """Another one writes after this one has looked and before it writes."""

    other: ZdkSession

    async def _read(self, wanted: int | None, before: int | None = None) -> Any:
        seen = await super()._read(wanted, before)
        if before is None:
            await self.other.add_items(messages("in between"))
        return seen


@in_process
def test_a_write_in_between(client: StorageClient, app: str) -> None:
    async def run() -> None:
        overtaken = Overtaken("one", client, app=app)
        overtaken.other = other = ZdkSession("one", client, app=app)
        await other.add_items(messages(1))
        # What is the last item when the pop is committed.
        assert await overtaken.pop_item() == message("in between")
        assert await other.get_items() == messages(1)
        await overtaken.clear_session()
        assert await other.get_items() == []
        await other.add_items(messages(2))
        assert await other.get_items() == messages(2)

    asyncio.run(run())


@in_process
def test_the_last_items_of_many_load_no_more(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        for start in range(0, 2000, 500):
            await session.add_items(messages(*range(start, start + 500)))
        count = counting(session)
        assert await session.get_items(20) == messages(*range(1980, 2000))
        assert (count.loads, count.events) == (1, 28)
        await session.pop_item()
        assert (count.loads, count.events) == (2, 37)

    asyncio.run(run())


@in_process
def test_after_a_clear_only_what_follows_is_loaded(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items(messages(*range(1000)))
        await session.clear_session()
        await session.add_items(messages(*range(500)))
        count = counting(session)
        assert await session.get_items() == messages(*range(500))
        assert await session.get_items(2**31) == messages(*range(500))
        # Twice a window that was not enough, and then what there is.
        assert (count.loads, count.events) == (4, 2 * (208 + 500))

    asyncio.run(run())


@over_all_stacks
def test_an_add_that_has_begun_is_whole(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        adding = asyncio.create_task(session.add_items(messages(1, 2, 3)))
        await asyncio.sleep(0)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert await session.get_items() == messages(1, 2, 3)

    asyncio.run(run())


@over_all_stacks
def test_clear_hides_and_delete_erases(client: StorageClient, open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items(messages("secret"))
        await session.clear_session()
        assert len((await client.sessions.load(session.key)).events) == 2
        await client.sessions.delete(session.key)
        assert await session.get_items() == []
        await session.add_items(messages(1))
        # Deleted where this object cannot know.
        await client.sessions.delete(session.key)
        await session.add_items(messages(2))
        assert await session.get_items() == messages(2)
        await client.sessions.delete(session.key)
        assert await session.pop_item() is None
        await session.clear_session()

    asyncio.run(run())


@in_process
def test_limits(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        with pytest.raises(TooLarge, match="4,194,304"):
            await session.add_items([message(1), message("x" * (4 * _MIB))])
        with pytest.raises(TooLarge, match="8,388,608"):
            await session.add_items(messages(*["x" * (3 * _MIB)] * 3))
        assert await session.get_items() == []

    asyncio.run(run())


@in_process
def test_an_item_that_some_could_not_read(open_session: OpenSession) -> None:
    def nested(levels: int) -> Any:
        item: Any = "deepest"
        for _ in range(levels):
            item = [item]
        return item

    async def called_from(levels: int, work: Callable[[], Awaitable[Any]]) -> Any:
        return await (called_from(levels - 1, work) if levels else work())

    async def run() -> None:
        session = open_session()
        with pytest.raises(InvalidRequest, match="deeper than 400 levels"):
            await session.add_items([message(1), nested(500)])
        assert await session.get_items() == []
        await session.add_items([nested(400)])
        assert await called_from(200, session.get_items) == [nested(400)]
        assert await called_from(200, session.pop_item) == nested(400)

    asyncio.run(run())


@in_process
def test_a_conversation_belongs_to_its_user(client: StorageClient, app: str) -> None:
    async def run() -> None:
        ada, ben = (ZdkSession("one", client, app=app, user=user) for user in ("ada", "ben"))
        await ada.add_items(messages(1))
        assert await ben.get_items() == []
        assert ada.key == SessionKey(app, "ada", "one")

    asyncio.run(run())


@in_process
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"session_id": ""}, "session"),
        ({"session_id": "a\x00b"}, "session"),
        ({"session_id": "\ud800"}, "session"),
        ({"session_id": "x" * 257}, "session"),
        ({"session_id": 1}, "session"),
        ({"user": ""}, "user"),
        ({"app": None}, "app"),
        ({"ack": "written"}, "ack"),
        ({"client": "redis://localhost"}, "client"),
    ],
)
def test_wrong_arguments(client: StorageClient, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        ZdkSession(**{"session_id": "one", "client": client, **wrong})
    assert raised.value.field == field


@in_process
@pytest.mark.parametrize("limit", ["5", 1.5, True])
def test_a_wrong_limit(open_session: OpenSession, limit: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        asyncio.run(open_session().get_items(limit))
    assert raised.value.field == "limit"


@in_process
def test_state_that_others_have_set(client: StorageClient, open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items(messages(1, 2))
        await client.sessions.update_state(session.key, {CLEARED: "yesterday"})
        assert await session.get_items() == messages(1, 2)
        await session.clear_session()
        assert await session.get_items() == []

    asyncio.run(run())


@in_process
def test_takes_the_run_context(open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items(messages(1), wrapper=None)
        assert await session.get_items(wrapper=None) == messages(1)
        assert await session.pop_item(wrapper=None) == message(1)
        await session.clear_session(wrapper=None)

    asyncio.run(run())


@over_all_stacks
def test_leaves_no_dead_letters(stack: Stack, app: str) -> None:
    async def run(client: StorageClient) -> None:
        overtaken = Overtaken("one", client, app=app)
        overtaken.other = ZdkSession("one", client, app=app)
        await overtaken.other.add_items(messages(1))
        # Creates what is there already; then its clear meets a conflict.
        await ZdkSession("one", client, app=app).add_items(messages(2))
        await overtaken.clear_session()

    database = Database(DatabaseOptions(stack.database_url))

    def kept() -> Sequence[Any]:
        with database.read.connect() as connection:
            return dead_letters.page(connection, app=app, after=0, limit=9)

    with stack.open() as client:
        asyncio.run(run(client))
    wait_until(lambda: not kept(), "failures that were seen are forgotten")
    database.close()


@in_process
def test_stores_a_readable_log(client: StorageClient, open_session: OpenSession) -> None:
    async def run() -> None:
        session = open_session()
        await session.add_items([message("hi"), {"role": "assistant", "content": "hello"}])
        await session.pop_item()
        events = (await client.sessions.load(session.key)).events
        assert [(event.author, event.content) for event in events] == [
            ("user", [message("hi")]),
            ("agent", [{"role": "assistant", "content": "hello"}]),
            ("session", {"op": "pop"}),
        ]

    asyncio.run(run())


def test_without_the_framework(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['agents'] = None\n"
        "import api_client, api_client.adapters\n"
        "import api_client.adapters.openai\n"
    )
    done = run_python(["-c", program], environment={}, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install 'zdk-storage[openai]'" in last
