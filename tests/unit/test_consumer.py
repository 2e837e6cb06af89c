"""The gate in front of Celery's consumer, whatever the broker."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import InvalidTaskError
from kombu import Message

from api_client.contract import codec
from tests.support.items import body, create, message
from worker import gate
from worker.consumer import GuardedConsumer
from worker.dead_letters import Refused

GOOD = body(message(create("s")))


class Consumer(GuardedConsumer):
    """A consumer that is not connected, and takes note of what it hands on."""

    def __init__(self) -> None:
        self.handed_on: list[Any] = []
        self._hand_on = self.handed_on.append

    def take(self, found: Message) -> Any:
        """What it makes of a message."""
        self._take(found)
        (handed_on,) = self.handed_on
        return handed_on


def delivered(content: Any = GOOD, **properties: Any) -> Message:
    """A message of RabbitMQ, which counts deliveries by numbers."""
    sent = {"task": codec.WRITE_TASK, "id": "an-id", **properties.pop("headers", {})}
    defaults = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_tag": 1}
    return Message(content, headers=sent, **{**defaults, **properties})


def buried(found: Any) -> Refused:
    """What a message that was rewritten asks to keep."""
    assert found.headers["task"] == gate.BURY_TASK
    assert gate.message_fault(found.headers, found.content_type, found.body) is None
    (argument,) = codec.decode_body(found.body)[0]
    return gate.read_bury_call(argument)


def test_a_good_message_is_handed_on_with_clean_headers() -> None:
    found = Consumer().take(delivered(headers={"shadow": "x", "retries": 9}))
    assert found.body == GOOD
    assert found.headers == gate.clean_headers({"task": codec.WRITE_TASK, "id": "an-id"})


@pytest.mark.parametrize("encoding", [5, ["x"], None, "utf-16", "no-such"])
def test_whatever_it_says_of_its_encoding_is_json(encoding: object) -> None:
    found = Consumer().take(delivered(content_encoding=encoding))
    assert found.content_encoding == "utf-8"
    assert found.payload[0]


@pytest.mark.parametrize(
    ("content", "kept"), [(b"\xff", b"\xff"), ("text", b"text"), (None, b""), ("", b"")]
)
def test_a_bad_one_is_rewritten(content: object, kept: bytes) -> None:
    found = Consumer().take(delivered(content, content_encoding=5))
    assert buried(found).body == kept
    assert found.payload[0]


@pytest.mark.parametrize("headers", [{"eta": "x"}, {"task": "other"}, {"id": None}])
def test_the_headers_of_a_bad_one_are_kept_as_they_came(headers: dict[str, Any]) -> None:
    sent = delivered(headers=headers)
    came = dict(sent.headers)
    assert codec.decode(buried(Consumer().take(sent)).headers.encode(), dict) == came


def test_one_that_comes_again_has_the_same_name() -> None:
    names = {buried(Consumer().take(delivered(b"{", delivery_tag=tag))).id for tag in (1, 2)}
    assert len(names) == 1


def test_one_that_cannot_be_examined_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> str:
        raise ZeroDivisionError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(gate, "message_fault", fault)
        found = Consumer().take(delivered())
    assert "a fault of ours" in buried(found).reason


def test_a_compressed_one_says_so() -> None:
    consumer, bad = Consumer(), delivered(headers={"compression": "zlib"})
    consumer.on_decode_error(bad, ValueError("cannot be decompressed"))
    assert "compressed" in buried(consumer.handed_on[0]).reason


def test_what_cannot_be_decoded_says_why() -> None:
    consumer = Consumer()
    consumer.on_decode_error(delivered(), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"))
    assert "odd" in buried(consumer.handed_on[0]).reason


def test_what_celery_finds_wrong_says_why() -> None:
    consumer = Consumer()
    consumer.on_invalid_task(None, delivered(), InvalidTaskError("odd"))
    assert "odd" in buried(consumer.handed_on[0]).reason
