"""The OpenAI Agents SDK's ``SQLAlchemySession``, with SQLAlchemy's default pool."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.payloads import text
from benchmarks.servers import async_url

_FILL_BATCH = 1000


class OpenAiSession:
    """One session in an event loop of its own.

    Parameters:
        database_url: a PostgreSQL database, as a SQLAlchemy URL.
        count: how many items it gets first.
    """

    def __init__(self, database_url: str, count: int):
        self._runner = asyncio.Runner()
        self._engine = create_async_engine(async_url(database_url))
        self._session = SQLAlchemySession("s", engine=self._engine, create_tables=True)
        self._runner.run(self._fill(count))

    def load(self, last: int | None = None) -> float:
        """Get all items, or the last; return the seconds that it took."""
        return self._runner.run(self._load(last))

    def close(self) -> None:
        """Close connections and the event loop."""
        self._runner.run(self._engine.dispose())
        self._runner.close()

    async def _fill(self, count: int) -> None:
        items: list[Any] = [
            {
                "id": f"msg_{number:032d}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": text(number), "annotations": []}],
            }
            for number in range(count)
        ]
        for begin in range(0, count, _FILL_BATCH):
            await self._session.add_items(items[begin : begin + _FILL_BATCH])

    async def _load(self, last: int | None) -> float:
        begin = time.perf_counter()
        await self._session.get_items(limit=last)
        return time.perf_counter() - begin
