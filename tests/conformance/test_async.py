"""The same client in async code."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api_client import (
    AlreadyExists,
    ArtifactKey,
    Event,
    NotFound,
    Receipt,
    SessionKey,
    StorageClient,
)
from tests.support.workers import Stack


def test_a_thousand_appends_awaited_together(client: StorageClient, session: SessionKey) -> None:
    async def run() -> None:
        events = [Event(author="agent", id=str(n)) for n in range(1000)]
        outcomes = await asyncio.gather(*(client.sessions.append(session, e) for e in events))
        assert [outcome.seq for outcome in outcomes] == [*range(1, 1001)]
        loaded = await client.sessions.load(session)
        assert [event.id for event in loaded.events] == [str(n) for n in range(1000)]

    asyncio.run(run())


def test_tasks_side_by_side_each_in_order(client: StorageClient, app: str) -> None:
    async def agent(number: int) -> list[int | None]:
        key = SessionKey(app, "user", f"session-{number}")
        await client.sessions.create(key, state={"number": number})
        found = []
        for n in range(5):
            appended = await client.sessions.append(key, Event(author="a", state_delta={"n": n}))
            found.append(appended.seq)
        name = ArtifactKey(app, "user", key.session, "file")
        assert await client.artifacts.save(name, b"x" * (number * 10_000)) == 1
        assert (await client.artifacts.load(name)).size == number * 10_000
        loaded = await client.sessions.load(key)
        assert loaded.state == {"number": number, "n": 4}
        return found

    async def run() -> list[list[int | None]]:
        return await asyncio.gather(*(agent(number) for number in range(20)))

    assert asyncio.run(run()) == [[1, 2, 3, 4, 5]] * 20


def test_errors_are_raised_where_they_are_awaited(client: StorageClient, key: SessionKey) -> None:
    async def run() -> None:
        with pytest.raises(NotFound):
            await client.sessions.load(key)
        await client.sessions.create(key)
        receipt = client.sessions.create(key)
        for _ in range(2):
            with pytest.raises(AlreadyExists):
                await receipt
        # Taken, though it failed later.
        await receipt.accepted
        found = await asyncio.gather(
            client.sessions.load(key), client.sessions.create(key), return_exceptions=True
        )
        assert not isinstance(found[0], BaseException)
        assert isinstance(found[1], AlreadyExists)

    asyncio.run(run())


def test_async_with_closes_the_client(stack: Stack, key: SessionKey, tmp_path: Path) -> None:
    async def run() -> list[Receipt[Any]]:
        async with stack.open(tmp_path / "outbox.db") as client:
            receipts: list[Receipt[Any]] = [client.sessions.create(key)]
            receipts += [client.sessions.append(key, Event(author="a")) for _ in range(50)]
            await receipts[-1].accepted
        assert all(receipt.done() for receipt in receipts)
        assert client.pending == 0
        return receipts

    receipts = asyncio.run(run())
    assert [receipt.exception() for receipt in receipts] == [None] * 51
    assert receipts[-1].result().seq == 50


def test_one_receipt_awaited_in_two_loops(client: StorageClient, key: SessionKey) -> None:
    client.sessions.create(key)
    receipt = client.sessions.append(key, Event(author="a"))
    load = client.sessions.load(key)
    both = threading.Barrier(2)

    async def wait() -> tuple[int | None, int]:
        both.wait()
        await receipt.accepted
        appended, loaded = await asyncio.gather(receipt, load)
        return appended.seq, loaded.revision

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(asyncio.run, wait()) for _ in range(2)]
        assert [future.result() for future in futures] == [(1, 1), (1, 1)]
    assert receipt.result().seq == 1


def test_a_receipt_outlives_the_loop_that_made_it(client: StorageClient, key: SessionKey) -> None:
    async def issue() -> Receipt[Any]:
        client.sessions.create(key)
        return client.sessions.append(key, Event(author="a"))

    receipt = asyncio.run(issue())
    assert receipt.result().seq == 1

    async def wait() -> Any:
        return await receipt

    assert asyncio.run(wait()).seq == 1


def test_flush_in_a_thread_leaves_the_loop_free(client: StorageClient, key: SessionKey) -> None:
    async def run() -> None:
        client.sessions.create(key)
        receipts = [client.sessions.append(key, Event(author="a")) for _ in range(50)]
        left, *_ = await asyncio.gather(asyncio.to_thread(client.flush), *receipts)
        assert left == 0

    asyncio.run(run())
