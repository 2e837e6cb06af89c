"""Google's Agent Development Kit: its session service and its file artifact service.

The engine is the service's own: SQLAlchemy's pool of 5 connections and 10 more under load, each
tested before use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.adk.artifacts import FileArtifactService
from google.adk.events import Event, EventActions
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.schemas.v1 import StorageEvent, StorageSession
from google.genai import types

from benchmarks.payloads import APP, USER, state_delta, text
from benchmarks.servers import async_url

#: Rows in one transaction when a database is filled before anything is timed.
_FILL_BATCH = 1000


def adk_events(count: int, start: int = 0) -> list[Any]:
    """The events that everybody stores, as ADK's."""
    return [
        Event(
            author="agent",
            invocation_id=f"e-{number:032d}",
            content=types.Content(role="model", parts=[types.Part(text=text(number))]),
            actions=EventActions(state_delta=state_delta(number)),
        )
        for number in range(start, start + count)
    ]


class AdkService:
    """A session service that keeps ADK's contract, in an event loop of its own.

    Parameters:
        service: a ``BaseSessionService``, which `close` closes.
    """

    def __init__(self, service: Any):
        self._runner = asyncio.Runner()
        self._service = service

    def create(self, session_id: str, state: dict[str, Any] | None = None) -> Any:
        """Create a session."""
        return self._runner.run(
            self._service.create_session(
                app_name=APP, user_id=USER, session_id=session_id, state=state
            )
        )

    def append(self, session: Any, events: Sequence[Any]) -> list[float]:
        """Append events one after another; return the seconds that each took."""
        return self._runner.run(self._append(session, events))

    def get(self, session_id: str) -> Any:
        """Load a session, and return it."""
        return self._runner.run(self._get(session_id))

    def load(self, session_id: str, last: int | None = None) -> float:
        """Load a session, or its last events; return the seconds that it took."""
        return self._runner.run(self._load(session_id, last))

    def close(self) -> None:
        """Close the service and the event loop."""
        self._runner.run(self._service.close())
        self._runner.close()

    async def _append(self, session: Any, events: Sequence[Any]) -> list[float]:
        times = []
        for event in events:
            begin = time.perf_counter()
            await self._service.append_event(session, event)
            times.append(time.perf_counter() - begin)
        return times

    async def _get(self, session_id: str, config: Any = None) -> Any:
        return await self._service.get_session(
            app_name=APP, user_id=USER, session_id=session_id, config=config
        )

    async def _load(self, session_id: str, last: int | None) -> float:
        config = None if last is None else GetSessionConfig(num_recent_events=last)
        begin = time.perf_counter()
        found = await self._get(session_id, config)
        seconds = time.perf_counter() - begin
        assert found is not None
        return seconds


class AdkSessions(AdkService):
    """ADK's ``DatabaseSessionService`` over asyncpg.

    Parameters:
        database_url: a PostgreSQL database, as a SQLAlchemy URL.
    """

    def __init__(self, database_url: str):
        super().__init__(DatabaseSessionService(async_url(database_url)))
        self._runner.run(self._service.prepare_tables())

    def append_at_once(self, sessions: Sequence[Any], events: Sequence[Any]) -> float:
        """Append events to all sessions at the same time; return the events per second."""
        return self._runner.run(self._append_at_once(sessions, events))

    def list_all(self) -> float:
        """List the sessions; return the seconds that it took."""
        return self._runner.run(self._list())

    def fill(self, session_id: str, count: int) -> Any:
        """A session with that many events and their state, written in bulk with the service's own
        tables."""
        return self._runner.run(self._fill(session_id, count))

    def fill_sessions(self, count: int) -> None:
        """Create that many sessions, likewise."""
        self._runner.run(self._fill_sessions(count))

    async def _append_at_once(self, sessions: Sequence[Any], events: Sequence[Any]) -> float:
        each = len(sessions)
        begin = time.perf_counter()
        await asyncio.gather(
            *(self._append(session, events[n::each]) for n, session in enumerate(sessions))
        )
        return len(events) / (time.perf_counter() - begin)

    async def _list(self) -> float:
        begin = time.perf_counter()
        await self._service.list_sessions(app_name=APP)
        return time.perf_counter() - begin

    async def _fill(self, session_id: str, count: int) -> Any:
        events = adk_events(count)
        state: dict[str, Any] = {}
        for event in events:
            state.update(event.actions.state_delta)
        session = await self._service.create_session(
            app_name=APP, user_id=USER, session_id=session_id, state=state
        )
        for begin in range(0, count, _FILL_BATCH):
            async with self._service.database_session_factory() as database:
                database.add_all(
                    StorageEvent.from_event(session, event)
                    for event in events[begin : begin + _FILL_BATCH]
                )
                await database.commit()
        return await self._get(session_id)

    async def _fill_sessions(self, count: int) -> None:
        # The first makes the rows of the app and the user.
        await self._service.create_session(app_name=APP, user_id=USER, session_id="s-0")
        for begin in range(1, count, _FILL_BATCH):
            async with self._service.database_session_factory() as database:
                database.add_all(
                    StorageSession(app_name=APP, user_id=USER, id=f"s-{number}", state={})
                    for number in range(begin, min(count, begin + _FILL_BATCH))
                )
                await database.commit()


class AdkFiles:
    """ADK's ``FileArtifactService``, which does not fsync.

    Parameters:
        folder: where it keeps files.
    """

    def __init__(self, folder: Path):
        self._service = FileArtifactService(folder)

    def save(self, session_id: str, paths: Sequence[Path], at_once: int = 1) -> None:
        """Save files, each under its name.

        Parameters:
            session_id: whose artifacts they become.
            paths: the files.
            at_once: how many at the same time, each in a thread of the service's.
        """
        asyncio.run(self._save_shares(session_id, paths, at_once))

    async def _save_shares(self, session_id: str, paths: Sequence[Path], shares: int) -> None:
        await asyncio.gather(
            *(self._save(session_id, paths[share::shares]) for share in range(shares))
        )

    async def _save(self, session_id: str, paths: Sequence[Path]) -> None:
        for path in paths:
            blob = types.Blob(data=path.read_bytes(), mime_type="application/octet-stream")
            await self._service.save_artifact(
                app_name=APP,
                user_id=USER,
                session_id=session_id,
                filename=path.name,
                artifact=types.Part(inline_data=blob),
            )
