"""A virtual host for each test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from api_client.contract.records import new_id
from tests.support.rabbitmq import RabbitMQServer


@dataclass
class VirtualHost:
    """A part of the server with queues of its own.

    Attributes:
        url: of the broker, for clients and workers.
    """

    server: RabbitMQServer
    name: str
    url: str

    def call(self, method: str, kind: str, name: str = "", body: Any = None) -> Any:
        """Call the server's HTTP API about what is in here."""
        return self.server.call(method, f"{kind}/{self.name}/{name}".rstrip("/"), body=body)


@pytest.fixture
def host(rabbitmq: RabbitMQServer | None) -> VirtualHost:
    """A virtual host of this test's own."""
    assert rabbitmq is not None, "these tests are collected only with RabbitMQ"
    name = new_id()
    return VirtualHost(rabbitmq, name, rabbitmq.add_virtual_host(name))
