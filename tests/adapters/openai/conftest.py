"""Conversations of each combination of database and transport."""

from __future__ import annotations

from typing import Any

import pytest

from api_client import StorageClient
from api_client.adapters.openai import ZdkSession
from api_client.contract.records import new_id
from tests.adapters.openai.contract import OpenSession
from tests.support.workers import Stack

#: What the adapter is tested over.
_STACKS = [
    f"{database}-{transport}"
    for transport in ("local", "celery")
    for database in ("sqlite_file", "postgresql")
]
over_all_stacks = pytest.mark.parametrize("stack", _STACKS, indirect=True)


@pytest.fixture
def clients(stack: Stack) -> list[StorageClient]:
    """Two clients of the combination."""
    return stack.clients(2)


@pytest.fixture
def client(clients: list[StorageClient]) -> StorageClient:
    """The first of them."""
    return clients[0]


@pytest.fixture
def app() -> str:
    """An app that only this test uses."""
    return f"app-{new_id()}"


@pytest.fixture
def open_session(client: StorageClient, app: str) -> OpenSession:
    """Makes a conversation of the first client."""

    def open_(session_id: str | None = None, **options: Any) -> ZdkSession:
        return ZdkSession(session_id or new_id(), client, **{"app": app, **options})

    return open_
