"""Publishing through Redis, on a real Valkey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.transport import publishers
from worker.embedded.valkey import EmbeddedValkey


def publish(publisher: publishers.RedisPublisher) -> None:
    publisher.publish(codec.WRITE_TASK, "task", b"{}", headers={}, expires=None)


def silence(publisher: publishers.RedisPublisher) -> None:
    """Have the broker answer nothing more over the publisher's connection."""
    pool = publisher._redis.connection_pool
    connection: Any = pool.get_connection()
    connection.send_command("CLIENT", "REPLY", "OFF")
    pool.release(connection)


def test_one_that_is_taken_without_an_answer_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy would count as a first delivery, too, so that its try would not be counted."""
    monkeypatch.setitem(publishers.SOCKET_OPTIONS, "socket_timeout", 0.2)
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as redis:
        publisher = publishers.RedisPublisher(valkey.url)
        publish(publisher)
        silence(publisher)
        with pytest.raises(Unavailable, match="cannot be reached"):
            publish(publisher)
        assert redis.llen(codec.WRITE_TASK) == 2
        publisher.close()


def test_a_connection_that_has_gone_is_replaced_at_once(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as redis:
        publisher = publishers.RedisPublisher(valkey.url)
        publish(publisher)
        redis.client_kill_filter(_type="normal", skipme=True)
        publish(publisher)
        assert redis.llen(codec.WRITE_TASK) == 2
        publisher.close()


@pytest.mark.parametrize("given", ["", ":wrong@"])
def test_a_password_that_is_missing_or_wrong_is_told_as_such(tmp_path: Path, given: str) -> None:
    with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as redis:
        redis.config_set("requirepass", "right")
        publisher = publishers.RedisPublisher(valkey.url.replace("redis://", f"redis://{given}"))
        with pytest.raises(Unavailable, match="refuses the password in its URL, or asks for one"):
            publish(publisher)
        publisher.close()
