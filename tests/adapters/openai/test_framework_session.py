"""The framework's own session passes the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import SQLiteSession

from api_client.contract.records import new_id
from tests.adapters.openai.contract import OpenSession, SessionContract


class TestSQLiteSession(SessionContract):
    @pytest.fixture
    def open_session(self, tmp_path: Path) -> Iterator[OpenSession]:
        opened: list[Any] = []

        def open_(session_id: str | None = None, **options: Any) -> Any:
            session = SQLiteSession(session_id or new_id(), tmp_path / "sessions.db", **options)
            opened.append(session)
            return session

        yield open_
        for session in opened:
            session.close()
