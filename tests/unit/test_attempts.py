"""How tries that end their process are counted, by a real Valkey."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api_client.contract.records import new_id
from worker.broker.attempts import Attempts
from worker.embedded.valkey import EmbeddedValkey


class Process:
    """Stands for a worker process, which has connections of its own."""

    def __init__(self, url: str, admin: Redis):
        self._redis = Redis.from_url(url, socket_timeout=10)
        self._admin = admin
        self.attempts = Attempts(self._redis)

    def die(self) -> None:
        """Lose all connections, as a killed process does."""
        name = self.attempts._name()
        self._admin.client_kill_filter(_id=name)
        self.close()

    def close(self) -> None:
        self._redis.close()


@pytest.fixture
def url(valkey_server: EmbeddedValkey) -> str:
    return f"{valkey_server.url.removesuffix('/0')}/9"


@pytest.fixture
def admin(url: str) -> Iterator[Redis]:
    with Redis.from_url(url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def start(url: str, admin: Redis) -> Iterator[Callable[[], Process]]:
    """Starts processes."""
    with ExitStack() as started:

        def new() -> Process:
            process = Process(url, admin)
            started.callback(process.close)
            return process

        yield new


def test_the_first_try_was_not_noted_and_counts(start: Callable[[], Process]) -> None:
    assert start().attempts.begin(new_id()) == 1


def test_each_process_that_died_counts(start: Callable[[], Process]) -> None:
    message_id = new_id()
    for died in range(1, 6):
        process = start()
        assert process.attempts.begin(message_id) == died
        process.die()


def test_copies_that_are_tried_at_the_same_time_are_no_deaths(
    start: Callable[[], Process],
) -> None:
    message_id = new_id()
    processes = [start() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda process: process.attempts.begin(message_id), processes)
        assert list(counts) == [1] * 8
    # One of them dies; the seven others still run.
    processes[3].die()
    assert start().attempts.begin(message_id) == 2


def test_the_same_process_is_no_death(start: Callable[[], Process]) -> None:
    message_id, process = new_id(), start()
    assert [process.attempts.begin(message_id) for _ in range(3)] == [1, 1, 1]


def test_messages_are_counted_apart(start: Callable[[], Process]) -> None:
    process, message_id = start(), new_id()
    process.attempts.begin(message_id)
    process.die()
    assert start().attempts.begin(new_id()) == 1


def test_whoever_survives_takes_the_count_back(start: Callable[[], Process]) -> None:
    message_id = new_id()
    for _ in range(3):
        process = start()
        process.attempts.begin(message_id)
        process.die()
    survivor = start()
    assert survivor.attempts.begin(message_id) == 4
    survivor.attempts.survived(message_id)
    assert start().attempts.begin(message_id) == 1


def test_a_failed_try_counts_once_though_its_process_lives(
    start: Callable[[], Process],
) -> None:
    message_id, process = new_id(), start()
    for failed in range(1, 4):
        assert process.attempts.begin(message_id) == failed
        process.attempts.failed(message_id)
    process.die()
    assert start().attempts.begin(message_id) == 4


def test_counts_expire(start: Callable[[], Process], admin: Redis) -> None:
    attempts = start().attempts
    attempts.begin("begun")
    attempts.failed("failed")
    attempts.handed_back("handed back")
    assert all(0 < admin.ttl(key) <= 7 * 86_400 for key in admin.keys("zdk:*"))
    assert len(admin.keys("zdk:*")) == 3


def test_handing_back_is_counted_apart(start: Callable[[], Process]) -> None:
    message_id, attempts = new_id(), start().attempts
    assert [attempts.handed_back(message_id) for _ in range(3)] == [1, 2, 3]
    assert attempts.begin(message_id) == 1


def test_nothing_is_counted_and_nothing_raised_without_redis(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts = Attempts(Redis(port=1, retry=Retry(NoBackoff(), 0)))
    with caplog.at_level(logging.WARNING):
        assert attempts.begin("m") == 0
        assert attempts.handed_back("m") == 0
        attempts.survived("m")
        attempts.failed("m")
    assert len(caplog.records) == 4


@pytest.mark.parametrize("forbidden", ["-client|list", "-client|id"])
def test_a_redis_that_does_not_tell_who_lives_counts_every_try(
    url: str, admin: Redis, forbidden: str
) -> None:
    admin.acl_setuser(
        "blind", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=[forbidden]
    )
    try:
        message_id = new_id()
        for died in range(1, 4):
            with Redis.from_url(url, username="blind", password="x") as redis:
                assert Attempts(redis).begin(message_id) == died
    finally:
        admin.acl_deluser("blind")
