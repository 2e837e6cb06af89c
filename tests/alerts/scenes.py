"""One scene for each cause of alerts: it lasts as long as the cause does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from redis import Redis

from tests.alerts.stage import Stage


@dataclass(frozen=True)
class Scene:
    """Attributes: what is wrong, what must fire while it is, and how to have it so."""

    title: str
    alerts: frozenset[str]
    cause: Callable[[Stage], AbstractContextManager[None]]


@contextmanager
def _unseen_failure(stage: Stage) -> Iterator[None]:
    stage.fail_unseen()
    try:
        yield
    finally:
        stage.forget_dead_letters()


@contextmanager
def _blocked(stage: Stage) -> Iterator[None]:
    with stage.locked_ledger(), stage.crowd():
        stage.fill_outbox()
        yield


@contextmanager
def _no_database(stage: Stage) -> Iterator[None]:
    stage.postgres.stop()
    try:
        yield
    finally:
        stage.postgres.start()


@contextmanager
def _no_broker(stage: Stage) -> Iterator[None]:
    stage.valkey.stop()
    try:
        yield
    finally:
        stage.valkey.start()


@contextmanager
def _stopped(stage: Stage) -> Iterator[None]:
    os.kill(stage.worker_pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stage.worker_pid, signal.SIGCONT)


@contextmanager
def _little_memory(stage: Stage) -> Iterator[None]:
    with Redis.from_url(stage.valkey.url) as redis:
        used = int(redis.info("memory")["used_memory"])
        redis.config_set("maxmemory", int(used * 1.1))
        try:
            yield
        finally:
            redis.config_set("maxmemory", 0)


def scenes(*, exporter: bool) -> Iterator[Scene]:
    """All of them.

    Parameters:
        exporter: whether redis_exporter is there.
    """
    yield Scene("an operation failed unseen", frozenset({"ZdkDeadLetters"}), _unseen_failure)
    yield Scene(
        "the ledger is locked, a crowd publishes, an outbox fills",
        frozenset(
            {
                *("ZdkNothingApplied", "ZdkLagging", "ZdkQueueGrowing", "ZdkRetries"),
                *("ZdkOutboxFull", "ZdkOutboxStale"),
            }
        ),
        _blocked,
    )
    yield Scene("PostgreSQL is stopped", frozenset({"ZdkDatabaseUnreachable"}), _no_database)
    yield Scene("Redis is stopped", frozenset({"ZdkPartUnreachable"}), _no_broker)
    yield Scene("the worker is stopped (SIGSTOP)", frozenset({"ZdkWorkerNotLive"}), _stopped)
    if exporter:
        yield Scene("Redis has little memory", frozenset({"ZdkBrokerMemory"}), _little_memory)
