"""The contract, over every combination, in both ways to write."""

from __future__ import annotations

from typing import Any

import pytest

from api_client import StorageClient
from api_client.adapters.openai import ZdkSession
from api_client.contract.records import new_id
from tests.adapters.openai.conftest import over_all_stacks
from tests.adapters.openai.contract import OpenSession, SessionContract


@over_all_stacks
class TestApplied(SessionContract):
    """Each call returns once it is committed."""


@pytest.mark.parametrize("stack", ["sqlite_file-local", "postgresql-celery"], indirect=True)
class TestAccepted(SessionContract):
    """``add_items`` returns once it is durable."""

    @pytest.fixture
    def open_session(self, client: StorageClient, app: str) -> OpenSession:
        def open_(session_id: str | None = None, **options: Any) -> ZdkSession:
            return ZdkSession(session_id or new_id(), client, app=app, ack="accepted", **options)

        return open_
