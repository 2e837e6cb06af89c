"""Session services of each combination of database and transport, and tests that are coroutines."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from api_client import StorageClient
from api_client.adapters.adk import ZdkSessionService
from api_client.contract.records import new_id
from tests.adapters.adk.session_contract import DatabaseDesk
from tests.support.workers import Stack

#: What the adapter is tested over.
STACKS = tuple(
    f"{database}-{transport}"
    for transport in ("local", "celery")
    for database in ("sqlite_file", "postgresql")
)
#: Where one combination is enough.
over_one_stack = pytest.mark.parametrize("stack", ["sqlite_file-local"], indirect=True)
#: Where it is about what goes between processes.
over_celery = pytest.mark.parametrize("stack", ["postgresql-celery"], indirect=True)

_SECONDS = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in an event loop of its own; it has a minute."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(_bounded(pyfuncitem, {name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


async def _bounded(test: pytest.Function, arguments: dict[str, Any]) -> None:
    try:
        await asyncio.wait_for(test.obj(**arguments), _SECONDS)
    finally:
        for argument in arguments.values():
            if isinstance(argument, DatabaseDesk):
                await argument.close()


@pytest.fixture
def client(stack: Stack) -> StorageClient:
    """A client of the combination."""
    return stack.clients(1)[0]


@pytest.fixture
def service(client: StorageClient) -> ZdkSessionService:
    """A session service over it, as it is by default."""
    return ZdkSessionService(client)


@pytest.fixture
def app() -> str:
    """An app that only this test uses."""
    return f"app-{new_id()}"
