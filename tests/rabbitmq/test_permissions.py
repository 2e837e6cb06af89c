"""The permissions that docs/rabbitmq.md names are enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client import SessionKey, StorageClient
from tests.integration.conftest import Site, open_site
from tests.support.rabbitmq import RabbitMQServer
from tests.support.workers import WorkerProcess


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQServer | None) -> Iterator[Site]:
    """A site of this test's own, over SQLite."""
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}", rabbitmq) as opened:
        yield opened


def user(site: Site, name: str, *, configure: str, write: str, read: str) -> str:
    """A user who may do no more than that; returns the URL for it."""
    server = site.rabbitmq
    assert server is not None, "these tests are collected only with RabbitMQ"
    virtual_host = site.broker_url.rpartition("/")[2]
    server.call("PUT", f"users/{name}", body={"password": "secret", "tags": ""})
    allowed = {"configure": configure, "write": write, "read": read}
    server.call("PUT", f"permissions/{virtual_host}/{name}", body=allowed)
    return site.broker_url.replace("guest:guest", f"{name}:secret")


def test_of_a_client_and_of_a_worker(site: Site) -> None:
    of_worker = r"(storage\..*|celeryev)"
    worker_url = user(site, "worker", configure=of_worker, write=of_worker, read=of_worker)
    client_url = user(site, "client", configure=r"storage\..*", write=r"amq\.default", read="^$")
    result_url = site.environment["ZDK_RESULT_URL"]
    worker = WorkerProcess(
        site.folder,
        broker_url=worker_url,
        database_url=site.environment["ZDK_DATABASE_URL"],
        artifacts_url=site.environment["ZDK_ARTIFACTS_URL"],
        result_url=result_url,
        concurrency=1,
    )
    with worker, StorageClient(client_url, result_url=result_url) as client:
        key = SessionKey("app", "user", "session")
        client.sessions.create(key).result(timeout=60)
        assert client.sessions.load(key).result(timeout=60).revision == 0
