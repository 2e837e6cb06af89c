"""What a client is made with: wrong values are refused by name, without leaving anything behind."""

from __future__ import annotations

import concurrent.futures
import math
from pathlib import Path
from typing import Any

import pytest

from api_client import Event, SessionKey, StorageClient
from api_client.contract.errors import InvalidRequest, Unavailable

KEY = SessionKey("app", "user", "session")
BROKER = "redis://localhost:1/0"


@pytest.mark.parametrize("field", ["block", "wait_timeout", "read_timeout"])
@pytest.mark.parametrize("value", [-1, math.nan, "5", None, True])
def test_seconds_that_are_none(field: str, value: object) -> None:
    options: dict[str, Any] = {field: value}
    with pytest.raises(InvalidRequest, match=f"^{field} must be a number of seconds") as caught:
        StorageClient.local(**options)
    assert caught.value.field == field


@pytest.mark.parametrize("place", [5, "", b"outbox.db", "a\0b"])
def test_a_place_that_is_none(place: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        StorageClient.local(outbox=place)
    assert caught.value.field == "outbox"


@pytest.mark.parametrize(
    "url", [5, "http://localhost", "redis://localhost:port/0", f"{BROKER}?surprise=1"]
)
def test_a_result_url_that_is_none(url: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        StorageClient(BROKER, result_url=url)
    assert caught.value.field == "result_url"


@pytest.mark.parametrize("url", ["redis://localhost:port/0", "redis://localhost/0?surprise=1"])
def test_a_broker_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^broker_url: the URL of Redis") as caught:
        StorageClient(url, result_url=BROKER)
    assert caught.value.field == "broker_url"


@pytest.mark.parametrize("url", ["sentinel://localhost:26379", "sqs://", "http://localhost"])
def test_a_broker_of_another_kind(url: str) -> None:
    with pytest.raises(InvalidRequest, match="must begin with redis://, rediss://, amqp://, amqps"):
        StorageClient(url, result_url=BROKER)


@pytest.mark.parametrize(
    "url",
    ["amqps://localhost//?ssl_cert_reqs=perhaps", "amqp://localhost//?ssl_ca_certs=/ca.pem"],
)
def test_a_wrong_option_of_tls(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^broker_url: ") as caught:
        StorageClient(url, result_url=BROKER)
    assert caught.value.field == "broker_url"


@pytest.mark.parametrize("url", ["rediss://localhost/0", "amqps://localhost//"])
def test_a_file_of_tls_that_is_not_there(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        StorageClient(f"{url}?ssl_ca_certs=/no/such/file", result_url=BROKER)
    assert caught.value.message == (
        "broker_url: ssl_ca_certs names a file that cannot be read: No such file or directory"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("amqps://user:hunter/2@localhost//", "is malformed"),
        ("amqps://user:hunter#2@localhost//", "is malformed"),
        ("amqps://user:hunter\N{ACCOUNT OF}2@localhost//", "is malformed"),
        ("amqp://user:hunter@localhost:port//", "is malformed"),
        ("amqp://user:hunter@localhost//?surprise=hunter", "takes no option surprise"),
        ("amqp://user:hunter@localhost//;redis://two/0", "each host of a cluster"),
        ("amqp://user:hunter@localhost//;", "each host of a cluster"),
    ],
)
def test_a_malformed_url_of_rabbitmq_is_told_at_once(url: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        StorageClient(url, result_url=BROKER)
    assert "hunter" not in str(caught.value)


def test_no_piece_of_a_password_is_shown() -> None:
    with pytest.raises(InvalidRequest) as caught:
        StorageClient("redis://:hunter/2@localhost/0")
    assert "hunter" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be made") as caught:
        StorageClient.local(outbox=f"{tmp_path}/file/")
    assert caught.value.field == "outbox"


def test_waiting_without_end() -> None:
    endless = math.inf
    client = StorageClient.local(
        max_operations=1, block=endless, wait_timeout=endless, read_timeout=endless
    )
    client.sessions.create(KEY)
    for _ in range(20):
        client.sessions.append(KEY, Event(author="agent"))
    assert client.flush(endless) == 0
    assert client.sessions.load(KEY).result().revision == 20
    assert client.close(endless) == 0


def test_who_waits_for_room_is_refused_when_the_client_closes(tmp_path: Path) -> None:
    client = StorageClient(BROKER, tmp_path / "outbox.db", max_operations=1, block=math.inf)
    client.sessions.create(KEY).accepted.result()
    # The second one can have no room, and ends only by the close.
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.sessions.append, KEY, Event(author="agent"))
        assert client.close(0) == 1
        assert isinstance(waiting.exception(60), Unavailable)
