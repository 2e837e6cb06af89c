"""Looks at the Redis servers that a worker depends on."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker.environment.server_urls import is_redis
from worker.safety.facts import RedisFacts, read_facts
from worker.safety.rules import Risk, risks, unknowns

#: Seconds to wait for a connection, and for each of a handful of answers.
_SECONDS = 3.0


@dataclass(frozen=True)
class Examined:
    """What was found of one server.

    Attributes:
        part: ``broker`` or ``results``.
        facts: what it tells; None if it is no Redis, or could not be asked.
        risks: what endangers what it is given.
        unknowns: settings that do as well, and that it does not tell.
        trouble: why it could not be asked; empty if it was.
    """

    part: str
    facts: RedisFacts | None = None
    risks: tuple[Risk, ...] = ()
    unknowns: tuple[str, ...] = ()
    trouble: str = ""


def examine(broker_url: str, result_url: str) -> list[Examined]:
    """Look at the broker, and at the Redis with results and staged bytes, if it is another one.

    Servers that are no Redis are not asked. Takes some seconds at most for each.
    """
    broker = _examined("broker", broker_url, holds_queues=True)
    if result_url == broker_url:
        return [broker]
    results = _examined("results", result_url, holds_queues=False)
    same = broker.facts and results.facts and broker.facts.server == results.facts.server
    return [broker] if same else [broker, results]


def _examined(part: str, url: str, *, holds_queues: bool) -> Examined:
    if not is_redis(url):
        return Examined(part)
    try:
        with Redis.from_url(
            url,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as redis:
            facts = read_facts(redis)
    except (RedisError, OSError, ValueError) as error:
        return Examined(part, trouble=str(error))
    return Examined(
        part,
        facts,
        tuple(risks(facts, holds_queues=holds_queues)),
        tuple(unknowns(facts, holds_queues=holds_queues)),
    )
