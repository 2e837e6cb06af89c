"""A real worker is fed with everything that is no message of ours, and goes on working."""

from __future__ import annotations

import bz2
import json
import lzma
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import Row

from api_client import Event, SessionKey, StorageClient
from api_client.contract import codec
from api_client.contract.limits import MAX_MESSAGE_BYTES, MIB
from api_client.contract.outcomes import WriteReply
from tests.integration.conftest import open_site
from tests.support.items import append, body, create, encoded, item, message
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from worker.broker.gate import BURY_TASK
from worker.dead_letters import KEPT_BYTES
from worker.storage import Storage

# All tests feed the same worker.
pytestmark = pytest.mark.xdist_group("bad_messages")

KEY = SessionKey("app", "user", "good")
PRIORITY_QUEUE = codec.WRITE_QUEUE + "\x06\x163"
MARKED = {"__type__": "datetime", "__value__": "no date"}
BOMB_BYTES = 50 * MIB


@dataclass
class Victim:
    """A worker, and what is needed to trouble it.

    Attributes:
        good: contents of the events that a well-behaved client has appended meanwhile.
    """

    worker: WorkerProcess
    pid: int
    redis: Redis
    store: Storage
    client: StorageClient
    plain: Celery
    good: list[int]

    def feed(self, *raw: bytes, queue: str = codec.WRITE_QUEUE) -> None:
        """Put items on a list, and see to it that all of them have been dealt with."""
        for value in raw:
            self.redis.lpush(queue, value)
        self.work()
        wait_until(self.idle, "the worker is idle", timeout=60)

    def work(self) -> None:
        """A good client does some work."""
        self.good.append(len(self.good))
        self.client.sessions.append(KEY, Event(author="a", content=self.good[-1])).result(60)

    def idle(self) -> bool:
        """Whether nothing is queued and nothing in work."""
        lists = (codec.WRITE_QUEUE, codec.READ_QUEUE, PRIORITY_QUEUE)
        return not any(map(self.redis.llen, lists)) and not self.redis.hlen("unacked")

    def new_letters(self) -> list[Row[Any]]:
        """The dead letters since the last call, which are discarded."""
        found = list(letters(self.store))
        with self.store.database.write.begin() as connection:
            connection.exec_driver_sql("DELETE FROM dead_letters")
        return found


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("bad_messages")
    with (
        open_site(folder, f"sqlite:///{folder / 'zdk.db'}") as site,
        site.worker() as worker,
        Redis.from_url(site.broker_url) as redis,
        site.client() as client,
        Celery("plain", broker=site.broker_url, backend=site.broker_url) as plain,
    ):
        client.sessions.create(KEY).result(timeout=60)
        store = open_store(site.environment["ZDK_DATABASE_URL"])
        yield Victim(worker, worker.pid, redis, store, client, plain, [])
        store.close()


@pytest.fixture(autouse=True)
def _unharmed(victim: Victim) -> Iterator[None]:
    """After each test: the same worker is alive, and has done all good work in order."""
    log = Path(victim.worker.log)
    begins = len(log.read_bytes())
    victim.new_letters()
    yield
    victim.work()
    assert victim.worker.pid == victim.pid
    assert contents(victim.store, KEY.session) == victim.good
    wait_until(victim.idle, "the worker is idle")
    assert b"Traceback" not in log.read_bytes()[begins:]


GOOD = body(message(create("never")))


def no_items() -> dict[str, bytes]:
    """Items that kombu could not take, by name."""
    good = encoded(item(GOOD))
    return {
        "not JSON": b"hello \xff\xfe",
        "empty": b"",
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
        "a list": json.dumps([item(GOOD)]).encode(),
        "null": b"null",
        "utf-16": good.decode().encode("utf-16"),
        "very deep": b"[" * 100_000,
        "no properties": encoded({"body": "", "headers": {}}),
        "no body": encoded({"headers": {}, "properties": item(GOOD)["properties"]}),
        "a body that is a number": encoded(item(GOOD, top={"body": 7})),
        "bad base64": encoded(item(GOOD, top={"body": "a"})),
        "an unknown body encoding": encoded(item(GOOD, properties={"body_encoding": "zlib"})),
        "no delivery_info": encoded(item(GOOD, properties={"delivery_info": None})),
        "delivery_info as text": encoded(item(GOOD, properties={"delivery_info": "x"})),
        "a routing key that is a list": encoded(
            item(GOOD, properties={"delivery_info": {"exchange": "", "routing_key": []}})
        ),
        "a tag that is a number": encoded(item(GOOD, properties={"delivery_tag": 7})),
        "a tag that is a list": encoded(item(GOOD, properties={"delivery_tag": []})),
        "headers null": encoded(item(GOOD, top={"headers": None})),
        "headers as a list": encoded(item(GOOD, top={"headers": [1]})),
        "deep headers": encoded(item(GOOD, headers={"a": json.loads("[" * 900 + "]" * 900)})),
        "a marked object": encoded(item(GOOD, headers={"a": MARKED})),
        "an endless priority": good.replace(b'"priority": 0', b'"priority": 1e999'),
    }


@pytest.mark.parametrize("name", no_items())
def test_an_item_that_is_no_message_is_kept_byte_for_byte(victim: Victim, name: str) -> None:
    raw = no_items()[name]
    victim.feed(raw)
    (letter,) = victim.new_letters()
    assert (bytes(letter.body), letter.size) == (raw, len(raw))
    assert letter.error
    assert (letter.operation, letter.headers) == ("", "")


DEEP = b'[[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}],{},{}]"
FORGED = {"id": "x", "task": "", "task_id": "", "reason": "", "headers": "", "body": "", "size": 0}
LINK = {"task": codec.WRITE_TASK, "args": [], "kwargs": {}, "options": {}}


@dataclass(frozen=True)
class Refusal:
    """A message that is refused.

    Attributes:
        reason: words of it.
        content: its body.
        headers, top: what differs from a good call.
        by_task: it is the task that refuses it, and keeps its argument.
    """

    reason: str
    content: bytes = GOOD
    headers: Mapping[str, Any] = field(default_factory=dict)
    top: Mapping[str, Any] = field(default_factory=dict)
    by_task: bool = False

    @property
    def kept(self) -> bytes:
        """The bytes of its dead letter."""
        return bytes(codec.decode_body(self.content)[0][0]) if self.by_task else self.content


def with_header(reason: str, name: str, value: object, content: bytes = GOOD) -> Refusal:
    return Refusal(reason, content, headers={name: value})


def of_type(content_type: object, content: bytes = GOOD) -> Refusal:
    return Refusal("content type", content, top={"content-type": content_type})


def unreadable(reason: str, argument: object, **headers: object) -> Refusal:
    return Refusal(reason, body(argument), headers=headers, by_task=True)


def calling(**embed: object) -> Refusal:
    return Refusal("callbacks", body(message(create("x")), embed=embed))


REFUSALS = {
    "no arguments": Refusal("one positional", body()),
    "two arguments": Refusal("one positional", body(1, 2)),
    "keyword arguments": Refusal("one positional", body(1, message=2)),
    "protocol 1": Refusal("protocol 2", json.dumps({"task": "x", "args": []}).encode()),
    "no JSON": Refusal("protocol 2", b"{" * 20),
    "empty body": Refusal("protocol 2", b""),
    "invalid UTF-8": Refusal("UTF-8", b'[["\xff"],{},{}]', by_task=True),
    "deep body": Refusal("protocol 2", DEEP),
    "utf-16": Refusal(
        "protocol 2", GOOD.decode().encode("utf-16"), top={"content-encoding": "utf-16"}
    ),
    "no message": unreadable("message", 7),
    "no operations": unreadable("operations", message()),
    "another version": unreadable("version", message(create("x")) | {"version": 99}),
    "no UUID": unreadable("UUID", message(create("x"), id_="x")),
    "celery.map": with_header("unknown task", "task", "celery.map"),
    "celery.starmap": with_header("unknown task", "task", "celery.starmap"),
    "celery.chunks": with_header("unknown task", "task", "celery.chunks"),
    "celery.chain": with_header("unknown task", "task", "celery.chain"),
    "celery.chord": with_header("unknown task", "task", "celery.chord"),
    "celery.group": with_header("unknown task", "task", "celery.group"),
    "celery.accumulate": with_header("unknown task", "task", "celery.accumulate"),
    "celery.backend_cleanup": with_header("unknown task", "task", "celery.backend_cleanup"),
    "unknown task": with_header("unknown task", "task", "os.system"),
    "task as a list": with_header("unknown task", "task", ["storage.write"]),
    "task null": with_header("unknown task", "task", None),
    "id as a number": with_header("task id", "id", 7),
    "id null": with_header("task id", "id", None),
    "id as a list": with_header("task id", "id", ["x"]),
    "id that steers a terminal": with_header("printable", "id", "\x1b[2J\n[ERROR] forged"),
    "eta": with_header("'eta'", "eta", "2099-01-01T00:00:00+00:00"),
    "eta that is none": with_header("'eta'", "eta", ["soon"]),
    "expires": with_header("'expires'", "expires", "2001-01-01T00:00:00+00:00"),
    "expires as a number": with_header("'expires'", "expires", 5),
    "time limit": with_header("'timelimit'", "timelimit", [0.001, 0.001]),
    "time limit as a number": with_header("'timelimit'", "timelimit", 5),
    "chord header": with_header("'chord'", "chord", LINK),
    "group": with_header("'group'", "group", "g"),
    "stamps": with_header("'stamped_headers'", "stamped_headers", ["a"]),
    "link": calling(callbacks=[LINK]),
    "link_error": calling(errbacks=[LINK]),
    "chain": calling(chain=[LINK]),
    "chord": calling(chord=LINK),
    "foreign embed": calling(is_eager=True),
    "pickle": of_type("application/x-python-serialize", b"cos\nsystem\n(S'true'\ntR."),
    "yaml": of_type("application/x-yaml", b"!!python/object/apply:os.system ['true']"),
    "msgpack": of_type("application/x-msgpack"),
    "content type null": of_type(None),
    "content type as a list": of_type(["application/json"]),
    "unknown compression": with_header("compressed", "compression", "no-such"),
    "compression as a list": with_header("compressed", "compression", ["gzip"]),
    "a forged call of the task that keeps": unreadable("UUID", FORGED, task=BURY_TASK),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_message_that_is_refused_is_kept_with_its_reason(victim: Victim, name: str) -> None:
    refusal = REFUSALS[name]
    sent = item(refusal.content, headers=refusal.headers, top=refusal.top)
    victim.feed(encoded(sent))
    (letter,) = victim.new_letters()
    assert refusal.reason in letter.error
    assert (bytes(letter.body), letter.size) == (refusal.kept, len(refusal.kept))
    assert (letter.position, letter.app, letter.code) == (-1, "", "invalid_request")
    if not refusal.by_task:
        assert json.loads(letter.headers) == sent["headers"]


class TestReplies:
    """Who publishes with plain Celery gets an answer, not silence."""

    def reply(self, victim: Victim, task: str, *args: object, **options: Any) -> WriteReply:
        sent = victim.plain.send_task(task, args=args, queue=task, **options)
        return codec.decode(codec.encode(sent.get(timeout=60)), WriteReply)

    @pytest.mark.parametrize("task", [codec.WRITE_TASK, codec.READ_TASK])
    def test_to_wrong_arguments(self, victim: Victim, task: str) -> None:
        for reply in (
            self.reply(victim, task),
            self.reply(victim, task, 1, 2),
            self.reply(victim, task, kwargs={"message": 1}),
        ):
            assert reply.error is not None
            assert reply.error.code == "invalid_request"
            assert "positional" in reply.error.message

    @pytest.mark.parametrize("task", [codec.WRITE_TASK, codec.READ_TASK])
    @pytest.mark.parametrize("argument", [None, 7, "x", [], {}, {"version": 1}, [[[[]]]]])
    def test_to_what_is_no_message(self, victim: Victim, task: str, argument: object) -> None:
        reply = self.reply(victim, task, argument)
        assert reply.error is not None
        assert reply.error.code == "invalid_request"

    def test_to_a_compressed_message(self, victim: Victim) -> None:
        reply = self.reply(victim, codec.WRITE_TASK, message(create("x")), compression="gzip")
        assert reply.error is not None
        assert "compressed" in reply.error.message

    def test_to_a_message_for_later(self, victim: Victim) -> None:
        reply = self.reply(victim, codec.WRITE_TASK, message(create("x")), countdown=3600)
        assert reply.error is not None
        assert "'eta'" in reply.error.message

    def test_to_a_pickled_message(self, victim: Victim) -> None:
        reply = self.reply(victim, codec.WRITE_TASK, message(create("x")), serializer="pickle")
        assert reply.error is not None
        assert "content type" in reply.error.message


def test_equal_garbage_twice_is_two_dead_letters(victim: Victim) -> None:
    victim.feed(b"garbage", b"garbage")
    assert [bytes(letter.body) for letter in victim.new_letters()] == [b"garbage"] * 2


def test_equal_bad_messages_published_twice_are_two_dead_letters(victim: Victim) -> None:
    victim.feed(*(encoded(item(GOOD, headers={"id": None, "root_id": 0})) for _ in range(2)))
    assert [bytes(letter.body) for letter in victim.new_letters()] == [GOOD] * 2


def test_the_same_bad_message_delivered_twice_is_one_dead_letter(victim: Victim) -> None:
    sent = item(body(1, 2))
    again = json.loads(encoded(sent))
    again["headers"]["redelivered"] = again["properties"]["delivery_info"]["redelivered"] = True
    victim.feed(encoded(sent), encoded(again))
    (letter,) = victim.new_letters()
    assert bytes(letter.body) == body(1, 2)


@pytest.mark.parametrize(
    ("properties", "top"),
    [
        ({}, {"content-encoding": 5}),
        ({}, {"content-encoding": ["x"]}),
        ({}, {"content-encoding": "no-such-encoding"}),
        ({}, {"content-encoding": None}),
        ({}, {"more": json.loads("[" * 900 + "]" * 900)}),
        ({}, {"more": MARKED}),
        ({"body_encoding": "BASE64"}, {}),
        ({"priority": "high"}, {}),
        ({"priority": 10**30}, {}),
        ({"reply_to": json.loads("[" * 900 + "]" * 900)}, {}),
        ({"correlation_id": {"a": 1}}, {}),
        ({"delivery_info": {"exchange": "elsewhere", "routing_key": "nowhere"}}, {}),
    ],
)
def test_oddities_that_do_no_harm_are_let_through(
    victim: Victim, properties: dict[str, Any], top: dict[str, Any]
) -> None:
    session = str(uuid.uuid4())
    content = body(message(create(session), append(session, "odd")))
    victim.feed(encoded(item(content, properties=properties, top=top)))
    assert victim.new_letters() == []
    assert contents(victim.store, session) == ["odd"]


def test_lists_for_priorities_are_served_and_guarded_likewise(victim: Victim) -> None:
    session = str(uuid.uuid4())
    good = item(body(message(create(session))), properties={"priority": 3})
    victim.feed(b"garbage", encoded(good), encoded(item(body())), queue=PRIORITY_QUEUE)
    assert contents(victim.store, session) == []
    assert {bytes(letter.body) for letter in victim.new_letters()} == {b"garbage", body()}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("shutdown", {}),
        ("pool_restart", {}),
        ("pool_shrink", {"n": 1}),
        ("rate_limit", {"task_name": codec.WRITE_TASK, "rate_limit": "1/h"}),
        ("revoke", {"task_id": "x", "terminate": True}),
        ("cancel_consumer", {"queue": codec.WRITE_QUEUE}),
    ],
)
def test_nobody_at_the_broker_commands_a_worker(
    victim: Victim, command: str, arguments: dict[str, Any]
) -> None:
    victim.plain.control.broadcast(command, arguments=arguments)
    victim.work()
    victim.work()


def test_nobody_gets_an_answer_from_a_worker(victim: Victim) -> None:
    assert victim.plain.control.inspect(timeout=0.2).ping() is None


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are told by Linux only")
@pytest.mark.parametrize(
    ("name", "compress"),
    [
        # What kombu calls gzip is zlib.
        ("application/x-gzip", zlib.compress),
        ("gzip", zlib.compress),
        ("zlib", zlib.compress),
        ("bzip2", bz2.compress),
        ("lzma", lzma.compress),
    ],
)
def test_nothing_is_decompressed(
    victim: Victim, name: str, compress: Callable[[bytes], bytes]
) -> None:
    bomb = compress(bytes(BOMB_BYTES))
    assert len(bomb) < 60_000
    processes = [victim.pid, *(child.pid for child in psutil.Process(victim.pid).children())]
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = [peak(pid) for pid in processes]
    victim.feed(encoded(item(bomb, headers={"compression": name})))
    (letter,) = victim.new_letters()
    assert bytes(letter.body) == bomb
    assert "compressed" in letter.error
    for pid, had in zip(processes, before, strict=True):
        assert peak(pid) - had < BOMB_BYTES / 4


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


class TestHuge:
    """Last, because they take time and memory."""

    def test_a_body_beyond_the_limit_is_kept_as_far_as_it_could_be_applied(
        self, victim: Victim
    ) -> None:
        content = body("x" * (MAX_MESSAGE_BYTES + 2 * MIB))
        victim.feed(encoded(item(content)))
        (letter,) = victim.new_letters()
        assert (bytes(letter.body), letter.size) == (content[:KEPT_BYTES], len(content))
        assert "bytes" in letter.error

    def test_an_item_beyond_all_limits_likewise(self, victim: Victim) -> None:
        raw = b"x" * (80 * MIB)
        victim.feed(raw)
        (letter,) = victim.new_letters()
        assert (bytes(letter.body), letter.size) == (raw[:KEPT_BYTES], len(raw))

    def test_the_largest_message_is_no_garbage(self, victim: Victim) -> None:
        session = str(uuid.uuid4())
        content = body(message(create(session), append(session, *["x" * (MIB - 200)] * 3)))
        victim.feed(encoded(item(content)))
        assert len(contents(victim.store, session)) == 3


def test_no_result_is_left_of_what_nobody_waits_for(victim: Victim) -> None:
    victim.feed(b"garbage", encoded(item(GOOD, headers={"task": "evil"})))
    for letter in victim.new_letters():
        assert not victim.redis.exists(f"celery-task-meta-{letter.message_id}")
