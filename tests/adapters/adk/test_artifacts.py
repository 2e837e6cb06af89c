"""The artifact service keeps ADK's contract, over all transports and databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.adk.artifacts import FileArtifactService, InMemoryArtifactService

from api_client.adapters.adk import ZdkArtifactService
from api_client.contract.records import new_id
from tests.adapters.adk.artifact_contract import ArtifactContract, FileDataContract, Place
from tests.support.workers import Stack

STACKS = ("sqlite_file-local", "postgresql-local", "sqlite_file-celery", "postgresql-celery")


@pytest.mark.parametrize("stack", STACKS, indirect=True)
class TestOurs(ArtifactContract, FileDataContract):
    """Ours."""

    @pytest.fixture
    def place(self, stack: Stack) -> Place:
        return Place(ZdkArtifactService(stack.clients(1)[0]), f"app-{new_id()}")


class TestInMemory(ArtifactContract, FileDataContract):
    """ADK's own, in memory."""

    @pytest.fixture
    def place(self) -> Place:
        return Place(InMemoryArtifactService(), "app")


class TestFiles(ArtifactContract):
    """ADK's own, in files."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(FileArtifactService(tmp_path), "app")
