"""LangGraph's ``AsyncPostgresSaver``, several of them, each with a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from benchmarks.payloads import text
from benchmarks.servers import plain_url

#: A checkpoint, and the versions of the channels that are new in it.
Put = tuple[Any, dict[str, str]]


def message_puts(count: int) -> list[Put]:
    """Checkpoints with one event each in a channel, whose value the saver writes beside the
    checkpoint's row. A graph's channel holds all messages so far, see `conversation_puts`; this one
    holds the newest only, which is less work."""
    return [_messages_put(number, [_message(number)]) for number in range(count)]


def conversation_puts(count: int, savers: int) -> list[Put]:
    """Checkpoints as a graph with messages makes them: its channel holds all messages so far, and
    is written whole each time. Of ``count``, each saver gets its share."""
    messages = [_message(number) for number in range(count)]
    return [
        _messages_put(number, messages[number % savers : number + 1 : savers])
        for number in range(count)
    ]


def inline_puts(count: int) -> list[Put]:
    """Checkpoints with one event each as a plain string, which the saver keeps in the checkpoint's
    own row: the cheapest thing that it can be asked to store."""
    return [
        ({**empty_checkpoint(), "channel_values": {"event": text(number)}}, {})
        for number in range(count)
    ]


def _messages_put(number: int, messages: list[dict[str, Any]]) -> Put:
    versions = {"messages": f"{number + 1:032d}.0"}
    checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"messages": messages},
        "channel_versions": versions,
    }
    return checkpoint, versions


def _message(number: int) -> dict[str, Any]:
    return {"role": "assistant", "content": text(number), "id": f"{number:032d}"}


class LangGraphSavers:
    """Savers side by side in an event loop of their own.

    Parameters:
        database_url: a PostgreSQL database, as a SQLAlchemy URL.
        count: how many.
    """

    def __init__(self, database_url: str, count: int):
        self._runner = asyncio.Runner()
        self._ending = contextlib.AsyncExitStack()
        self._savers: list[Any] = self._runner.run(self._open(plain_url(database_url), count))

    def put_at_once(self, prefix: str, items: Sequence[Put]) -> float:
        """Put checkpoints, each saver its share into a thread of its own; return how many per
        second.

        Parameters:
            prefix: of the names of the threads.
            items: see `message_puts` and `inline_puts`.
        """
        return self._runner.run(self._put_at_once(prefix, items))

    def close(self) -> None:
        """Close connections and the event loop."""
        self._runner.run(self._ending.aclose())
        self._runner.close()

    async def _open(self, url: str, count: int) -> list[Any]:
        savers = [
            await self._ending.enter_async_context(AsyncPostgresSaver.from_conn_string(url))
            for _ in range(count)
        ]
        await savers[0].setup()
        return savers

    async def _put_at_once(self, prefix: str, items: Sequence[Put]) -> float:
        each = len(self._savers)
        begin = time.perf_counter()
        await asyncio.gather(
            *(
                _put(saver, f"{prefix}-{number}", items[number::each])
                for number, saver in enumerate(self._savers)
            )
        )
        return len(items) / (time.perf_counter() - begin)


async def _put(saver: Any, thread: str, items: Sequence[Put]) -> None:
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    for step, (checkpoint, versions) in enumerate(items):
        metadata = {"source": "loop", "step": step, "parents": {}}
        config = await saver.aput(config, checkpoint, metadata, versions)
