"""A worker over RabbitMQ is fed with what is no message of ours, keeps it, and goes on."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import amqp
import pytest
from celery import Celery
from kombu import Connection
from sqlalchemy import Row

from api_client import Event, SessionKey, StorageClient
from api_client.contract import codec
from api_client.contract.limits import MAX_MESSAGE_BYTES, MIB
from api_client.contract.outcomes import WriteReply
from tests.integration.conftest import Site, open_site
from tests.support.items import body, create, message
from tests.support.rabbitmq import RabbitMQServer
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess
from worker.dead_letters import KEPT_BYTES
from worker.storage import Storage

pytestmark = pytest.mark.xdist_group("rabbitmq_bad_messages")

KEY = SessionKey("app", "user", "good")
GOOD = body(message(create("never")))
CALL = {"task": codec.WRITE_TASK, "id": "x"}


@dataclass
class Victim:
    """A worker, and what is needed to trouble it."""

    site: Site
    worker: WorkerProcess
    store: Storage
    client: StorageClient
    plain: Celery
    done: int = 0

    def feed(self, content: bytes, **properties: Any) -> None:
        """Put a message of any kind into the queue."""
        with Connection(self.site.broker_url) as connection:
            channel: Any = connection.default_channel
            channel.basic_publish(amqp.Message(content, **properties), routing_key="storage.write")

    def new_letters(self, count: int) -> list[Row[Any]]:
        """The dead letters since the last call, once there are so many; they are discarded."""
        wait_until(lambda: len(letters(self.store)) >= count, f"{count} dead letters")
        found = list(letters(self.store))
        with self.store.database.write.begin() as connection:
            connection.exec_driver_sql("DELETE FROM dead_letters")
        return found


@pytest.fixture(scope="module")
def victim(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQServer | None
) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("bad_messages")
    with (
        open_site(folder, f"sqlite:///{folder / 'zdk.db'}", rabbitmq) as site,
        site.worker() as worker,
        site.client() as client,
        site.plain() as plain,
    ):
        client.sessions.create(KEY).result(timeout=60)
        store = open_store(site.environment["ZDK_DATABASE_URL"])
        yield Victim(site, worker, store, client, plain)
        store.close()


@pytest.fixture(autouse=True)
def _unharmed(victim: Victim) -> Iterator[None]:
    """After each test the same worker does good work, and nothing is left in its queue."""
    pid, begins = victim.worker.pid, len(victim.worker.log.read_bytes())
    yield
    victim.client.sessions.append(KEY, Event(author="a", content=victim.done)).result(60)
    victim.done += 1
    assert victim.worker.pid == pid
    assert contents(victim.store, KEY.session) == [*range(victim.done)]
    wait_until(
        lambda: victim.site.queues.counts(codec.WRITE_QUEUE) == (0, 0), "all is acknowledged"
    )
    assert b"Traceback" not in victim.worker.log.read_bytes()[begins:]


def call(**changes: Any) -> dict[str, Any]:
    """The properties of a good call, with changes to its headers."""
    return {"content_type": "application/json", "application_headers": {**CALL, **changes}}


#: Properties, content, and words of the reason, by name.
REFUSALS: Mapping[str, tuple[dict[str, Any], bytes, str]] = {
    "nothing but bytes": ({}, b"garbage \xff", "unknown task"),
    "empty": ({}, b"", "unknown task"),
    "an unknown task": (call(task="os.system"), GOOD, "unknown task"),
    "a task that is a table": (call(task={"a": 1}), GOOD, "unknown task"),
    "an id that is a number": (call(id=7), GOOD, "task id"),
    "for later": (call(eta="2099-01-01T00:00:00+00:00"), GOOD, "'eta'"),
    "a write that expires": (call(expires="2001-01-01T00:00:00+00:00"), GOOD, "'expires'"),
    "a time limit": (call(timelimit=[1, 1]), GOOD, "'timelimit'"),
    "headers that are no JSON": (
        call(task="x", a=datetime(2026, 1, 1, tzinfo=timezone.utc), b=b"\xff", c={"d": [None]}),
        GOOD,
        "unknown task",
    ),
    "compressed": (call(compression="gzip"), zlib.compress(bytes(MIB)), "compressed"),
    "a pickle": (
        call() | {"content_type": "application/x-python-serialize"},
        b"cos\nsystem\n(S'true'\ntR.",
        "content type",
    ),
    "no content type": ({"application_headers": CALL}, GOOD, "content type"),
    "two arguments": (call(), body(1, 2), "one positional"),
    "too large": (call(), body("x" * (MAX_MESSAGE_BYTES + MIB)), "bytes"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_message_is_kept_with_its_reason(victim: Victim, name: str) -> None:
    properties, content, reason = REFUSALS[name]
    victim.feed(content, **properties)
    (letter,) = victim.new_letters(1)
    assert reason in letter.error
    assert (bytes(letter.body), letter.size) == (content[:KEPT_BYTES], len(content))


@pytest.mark.parametrize("encoding", ["no-such-encoding", "utf-16", "binary"])
def test_an_odd_encoding_does_no_harm(victim: Victim, encoding: str) -> None:
    session = f"odd-{encoding}"
    content = body(message(create(session)))
    victim.feed(content, **call(), content_encoding=encoding)
    wait_until(lambda: applied(victim, session), "it is applied")


def applied(victim: Victim, session: str) -> bool:
    page = victim.client.sessions.list("app", "user").result(60)
    return any(item.key.session == session for item in page)


def test_who_publishes_with_plain_celery_is_answered(victim: Victim) -> None:
    sent = victim.plain.send_task(codec.WRITE_TASK, args=[1, 2], queue=codec.WRITE_QUEUE)
    reply = codec.decode(codec.encode(sent.get(timeout=60)), WriteReply)
    assert reply.error is not None
    assert "positional" in reply.error.message
    victim.new_letters(1)
