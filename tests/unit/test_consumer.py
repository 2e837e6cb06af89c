"""The gate in front of Celery's consumer, whatever the broker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import InvalidTaskError
from kombu import Message

from api_client.contract import codec
from tests.support.items import body, create, message
from worker.broker import gate
from worker.broker.consumer import GuardedConsumer
from worker.broker.gathering import MOST_MESSAGES, MOST_SMALL_BYTES, Gathering
from worker.dead_letters import Refused

GOOD = body(message(create("s")))


class Consumer(GuardedConsumer):
    """A consumer that is not connected, and takes note of what it hands on."""

    def __init__(self) -> None:
        self.handed_on: list[Any] = []
        self._hand_on = self.handed_on.append
        self._gathering = Gathering()
        self._groups = set()
        self.pool = SimpleNamespace(num_processes=1)
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        """Do what was to be done soon."""
        calls, self.soon = self.soon, []
        for call in calls:
            call()

    def take(self, *found: Message) -> Any:
        """What it makes of messages that come at once: the last that it hands on."""
        for one in found:
            self._take(one)
        self.turn()
        return self.handed_on[-1]


class Watched(Message):
    """Takes note of how it was settled."""

    settled: list[str]

    def ack_log_error(self, *_: Any, **__: Any) -> None:
        self.settled.append("acknowledged")

    def reject_log_error(self, *_: Any, requeue: bool = False, **__: Any) -> None:
        self.settled.append("requeued" if requeue else "rejected")


def watched(number: int, **properties: Any) -> Watched:
    """A message whose task id is that number."""
    headers = {"task": codec.WRITE_TASK, "id": str(number), **properties.pop("headers", {})}
    made = Watched(
        properties.pop("content", GOOD),
        headers=headers,
        content_type="application/json",
        delivery_tag=str(number),
        **properties,
    )
    made.settled = []
    return made


def task_ids(handed_on: Any) -> list[str]:
    """The tasks that a message stands for."""
    if handed_on.headers["task"] != gate.GROUP_TASK:
        return [handed_on.headers["id"]]
    (group,) = codec.decode_body(handed_on.body)[0]
    return [call.task_id for call in codec.decode(group, list[gate.GroupedCall])]


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


class TestGroups:
    def test_those_that_come_at_once_are_applied_together(self) -> None:
        assert task_ids(Consumer().take(*map(watched, range(3)))) == ["0", "1", "2"]

    def test_those_that_come_while_the_pool_is_busy_wait_for_it(self) -> None:
        consumer = Consumer()
        first = consumer.take(watched(0))
        assert consumer.take(*map(watched, (1, 2))) is first
        first.ack_log_error()
        consumer.turn()
        assert task_ids(consumer.handed_on[-1]) == ["1", "2"]

    def test_each_process_gets_one(self) -> None:
        consumer = Consumer()
        consumer.pool.num_processes = 2
        for number in range(4):
            consumer.take(watched(number))
        assert [task_ids(one) for one in consumer.handed_on] == [["0"], ["1"]]

    def test_all_are_settled_together(self) -> None:
        for how, word in (("ack_log_error", "acknowledged"), ("reject_log_error", "rejected")):
            messages = [watched(number) for number in range(3)]
            getattr(Consumer().take(*messages), how)()
            assert [message.settled for message in messages] == [[word]] * 3

    def test_what_goes_back_into_its_queue_is_as_it_came(self) -> None:
        messages = [watched(number) for number in range(2)]
        Consumer().take(*messages).reject_log_error(None, (), requeue=True)
        assert [message.settled for message in messages] == [["requeued"]] * 2
        bodies: list[Any] = [message.body for message in messages]
        assert bodies == [GOOD] * 2

    @pytest.mark.parametrize(
        "again",
        [
            {"headers": {"redelivered": True}},
            {"headers": {codec.TRY_HEADER: 2}},
            {"delivery_info": {"redelivered": True}},
        ],
    )
    def test_one_that_comes_again_is_alone_and_overtakes_nothing(
        self, again: dict[str, Any]
    ) -> None:
        consumer = Consumer()
        consumer.take(watched(0), watched(1, **again), watched(2))
        assert [task_ids(one) for one in consumer.handed_on] == [["0"], ["1"]]
        consumer.handed_on[0].ack_log_error()
        consumer.turn()
        assert task_ids(consumer.handed_on[2]) == ["2"]

    def test_a_large_one_waits_for_nobody(self) -> None:
        consumer = Consumer()
        large = body(message(create("s"), create("x" * MOST_SMALL_BYTES)))
        consumer.take(watched(0), watched(1, content=large), watched(2))
        assert [task_ids(one) for one in consumer.handed_on] == [["1"], ["0", "2"]]

    def test_a_group_is_bounded(self) -> None:
        consumer = Consumer()
        consumer.take(*map(watched, range(MOST_MESSAGES + 1)))
        assert len(task_ids(consumer.handed_on[0])) == MOST_MESSAGES
        consumer.handed_on[0].ack_log_error()
        consumer.turn()
        assert task_ids(consumer.handed_on[1]) == [str(MOST_MESSAGES)]

    def test_nobody_else_can_call_one(self) -> None:
        headers = {"task": gate.GROUP_TASK, "id": "an-id"}
        assert gate.message_fault(headers, "application/json", GOOD) is not None
