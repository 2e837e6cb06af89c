"""Messages that kill whoever works on them, and what happens around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from api_client import Event, SessionKey, StorageClient, Unavailable
from api_client.contract import codec
from api_client.contract.outcomes import WriteReply
from api_client.outbox.schedule import ScheduleOptions
from api_client.receipts import Receipt
from tests.integration.conftest import Site
from tests.support import items
from tests.support.deadly import APP, HANGS, KILLS, TALLY_VARIABLE
from tests.support.stores import contents, letters, open_store
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

DEADLY = SessionKey("app", "user", "deadly")
GOOD = SessionKey("app", "user", "good")
#: Seconds for what needs a worker, which takes long to start on a machine that is busy.
PATIENCE = 120.0


@pytest.fixture
def tally(site: Site) -> Callable[[], int]:
    """Counts how often somebody met what is deadly."""
    path = site.folder / "tally"
    path.touch()
    return lambda: len(path.read_bytes().splitlines())


def deadly_worker(
    site: Site, *, pool: str = "prefork", concurrency: int = 2, **settings: str
) -> WorkerProcess:
    tally_file = {TALLY_VARIABLE: str(site.folder / "tally")}
    return site.worker(concurrency=concurrency, pool=pool, app=APP, **tally_file, **settings)


def append(client: StorageClient, key: SessionKey, content: object) -> Receipt[object]:
    return client.sessions.append(key, Event(author="a", content=content))  # type: ignore[return-value]


def test_it_is_given_up_after_five_tries_and_others_work_meanwhile(
    site: Site, tally: Callable[[], int]
) -> None:
    sent = items.message(items.create("s"), items.append("s", KILLS), items.append("s", 1))
    query = {"version": 1, "query": {"op": "session.list", "app": KILLS}}
    with (
        deadly_worker(site) as worker,
        site.plain() as plain,
        site.client() as client,
    ):
        pid = worker.pid
        client.sessions.create(GOOD).result(timeout=60)
        task = plain.send_task(codec.WRITE_TASK, args=[sent], queue=codec.WRITE_QUEUE)
        others = 0
        while not task.ready():
            append(client, GOOD, others).result(timeout=60)
            others += 1

        # Each of its operations has failed, and is kept with the number of tries;
        reply = codec.decode(codec.encode(task.get(timeout=60)), WriteReply)
        assert [found.error and found.error.code for found in reply.outcomes] == ["unavailable"] * 3
        store = open_store(site.environment["ZDK_DATABASE_URL"])
        kept = [(letter.message_id, letter.position, letter.attempts) for letter in letters(store)]
        assert kept == [(sent["id"], 0, 5), (sent["id"], 1, 5), (sent["id"], 2, 5)]
        assert tally() == 5
        # the others were not harmed.
        assert contents(store, "good") == [*range(others)]
        assert worker.pid == pid
        store.close()

        # And a query that kills does not come back by itself.
        plain.send_task(codec.READ_TASK, args=[query], queue=codec.READ_QUEUE)
        wait_until(lambda: tally() == 6, "the query has killed")
        for _ in range(10):
            append(client, GOOD, "after").result(timeout=60)
        for queue in (codec.WRITE_QUEUE, codec.READ_QUEUE):
            wait_until(lambda name=queue: site.queues.counts(name) == (0, 0), "all is acknowledged")  # type: ignore[misc]
        assert tally() == 6


def test_one_that_hangs_is_given_up_too(
    site: Site, tally: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client that does not send again, so that it is the worker who hands it back,
    never = partial(ScheduleOptions, resend_after=1e6, resend_at_most=1e6)
    monkeypatch.setattr("api_client.client.ScheduleOptions", never)
    # and with one pool process, since a hanging one is killed a moment after its message is handed
    # back, and counts only then.
    with (
        deadly_worker(site, concurrency=1, ZDK_TIME_LIMIT="1", ZDK_MAX_TRIES="1"),
        site.client() as client,
    ):
        client.sessions.create(DEADLY).result(timeout=60)
        with pytest.raises(Unavailable, match="killed its worker"):
            append(client, DEADLY, HANGS).result(timeout=60)
        append(client, DEADLY, "after").result(timeout=60)
    assert tally() == 1


# Four workers start, one after the other.
@pytest.mark.timeout(600)
def test_one_that_kills_whole_workers_is_given_up_over_restarts(
    site: Site, tally: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a client that sends again soon, since nobody is left to hand the message back,
    impatient = partial(ScheduleOptions, resend_after=0.2, resend_at_most=0.5)
    monkeypatch.setattr("api_client.client.ScheduleOptions", impatient)
    worker = deadly_worker(site, pool="solo", ZDK_MAX_TRIES="3")
    # Nobody waits until one is ready, which it may not say before it is killed.
    with site.client() as client:
        worker.launch()
        client.sessions.create(DEADLY).result(timeout=PATIENCE)
        deadly = append(client, DEADLY, KILLS)
        # when workers are started again and again,
        while not deadly.done():
            wait_until(
                lambda: deadly.done() or not worker.running, "given up or killed", timeout=PATIENCE
            )
            if not worker.running:
                worker.launch()
        # then the fourth survives, also all copies that are still on their way.
        with pytest.raises(Unavailable, match="killed its worker"):
            deadly.result(timeout=0)
        append(client, DEADLY, "after").result(timeout=PATIENCE)
        assert worker.running
        worker.stop()
    assert tally() == 3
