"""The session service keeps ADK's contract, over all transports and databases, in both ways to
write; ADK's own services keep the same one."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService

from api_client import StorageClient
from api_client.adapters.adk import ZdkSessionService
from tests.adapters.adk.conftest import STACKS, over_celery, over_one_stack
from tests.adapters.adk.session_contract import (
    DatabaseDesk,
    Desk,
    PaddedIdContract,
    SessionContract,
    StoredFormContract,
)


@pytest.mark.parametrize("stack", STACKS, indirect=True)
class TestApplied(SessionContract, StoredFormContract, PaddedIdContract):
    @pytest.fixture
    def desk(self, service: ZdkSessionService, app: str) -> Desk:
        return Desk(service, app)


@over_celery
class TestAccepted(SessionContract, StoredFormContract, PaddedIdContract):
    @pytest.fixture
    def desk(self, client: StorageClient, app: str) -> Desk:
        return Desk(ZdkSessionService(client, ack="accepted"), app)

    async def test_append_to_a_session_that_is_not_there(self, desk: Desk) -> None:
        """`test_accepted` says what happens instead."""


@over_one_stack
class TestStrict(SessionContract, StoredFormContract, PaddedIdContract):
    @pytest.fixture
    def desk(self, client: StorageClient, app: str) -> Desk:
        return Desk(ZdkSessionService(client, strict=True), app)


class TestAdkInMemory(SessionContract, PaddedIdContract):
    @pytest.fixture
    def desk(self, app: str) -> Desk:
        return Desk(InMemorySessionService(), app)


class TestAdkDatabase(SessionContract, StoredFormContract):
    @pytest.fixture
    def desk(self, tmp_path: Path, app: str) -> Desk:
        service = DatabaseSessionService(f"sqlite+aiosqlite:///{tmp_path}/adk.db")
        return DatabaseDesk(service, app)


class TestAdkSqlite(StoredFormContract, PaddedIdContract):
    @pytest.fixture
    def desk(self, tmp_path: Path, app: str) -> Desk:
        return Desk(SqliteSessionService(str(tmp_path / "adk.db")), app)
