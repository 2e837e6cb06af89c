"""Faults of the queue's contents: copies, another order, garbage."""

from __future__ import annotations

import contextlib
import json

from redis import Redis

from tests.faults.attack import NotHit, Steps, fault, until
from tests.faults.garbage import KINDS, make
from tests.faults.site import Site

_QUEUE = "storage.write"
#: Seconds until there is something to copy or shuffle.
_WAIT_SECONDS = 4.0
#: Seconds until a piece of garbage must be a dead letter; the audit looks again.
_LETTER_SECONDS = 6.0
_MOST_SAMPLES = 2000


@fault("duplicate-queue", "queue", brokers=("redis",))
def duplicate_queue(site: Site) -> Steps:
    """Every message on the queue and in work is put there again, with some that are long done."""
    with contextlib.closing(site.redis()) as redis:
        found: list[bytes] = []

        def some() -> bool:
            found[:] = _in_queue(redis) + _in_work(redis)
            return bool(found)

        yield from until(some, _WAIT_SECONDS)
        old = site.dice.sample(site.samples, min(20, len(site.samples)))
        site.samples += found
        del site.samples[:-_MOST_SAMPLES]
        redis.lpush(_QUEUE, *found, *old)


@fault("shuffle-queue", "queue", brokers=("redis",))
def shuffle_queue(site: Site) -> Steps:
    """The messages on the queue change places; some are put in front that are long done."""
    with contextlib.closing(site.redis()) as redis:
        for _ in range(20):
            found = _in_queue(redis) or _in_work(redis)
            site.dice.shuffle(found)
            if found:
                redis.delete(_QUEUE)
                redis.rpush(_QUEUE, *found)
            yield 0.02


@fault("garbage", "queue", alone=True, brokers=("redis",))
def garbage(site: Site) -> Steps:
    """Things on the queue that are no messages of ours; each must become a dead letter."""
    kinds = list(KINDS)
    site.dice.shuffle(kinds)
    chosen = sorted(kinds, key=lambda kind: sum(g.name == kind for g in site.garbage))[:4]
    pieces = [make(kind) for kind in chosen]
    with contextlib.closing(site.redis()) as redis:
        for piece in pieces:
            redis.lpush(_QUEUE, piece.item)
            site.garbage.append(piece)
        # While it is alone: a fault could otherwise lose what nobody had accepted.
        with contextlib.suppress(NotHit):
            yield from until(lambda: _letters(site) >= len(site.garbage), _LETTER_SECONDS)


def _in_queue(redis: Redis) -> list[bytes]:
    found: list[bytes] = redis.lrange(_QUEUE, 0, 200)  # type: ignore[assignment]
    return found


def _in_work(redis: Redis) -> list[bytes]:
    raw: list[bytes] = redis.hvals("unacked")  # type: ignore[assignment]
    return [json.dumps(json.loads(item)[0]).encode() for item in raw]


def _letters(site: Site) -> int:
    with contextlib.closing(site.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM dead_letters WHERE position = -1")
        row = cursor.fetchone()
        return int(row[0]) if row else 0
