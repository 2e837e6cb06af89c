"""How workers tell that they are there, and what they do: a few bytes in Redis, every five seconds.

Remote control and Celery's events are off (`worker.app`), so nobody can ask a worker. Each writes
its `Beat` under a key of its own, which expires, beside the names of all in one sorted set; both
are described in docs/wire.md. They are in the Redis of the results, so that workers are seen
whatever the broker is.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

import msgspec
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from celery.worker.state import active_requests
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api_client.version import __version__
from worker.presence.tally import Counts, Tally

log = logging.getLogger(__name__)

#: Seconds between two beats.
EVERY = 5.0
#: Seconds for which the last beat of a worker is kept that has ended without a word.
KEPT = 600
#: The sorted set of the names of workers, by the time of their last beat.
NAMES_KEY = "zdk:workers"
#: Seconds after which the name of a worker that beats no more is dropped, whatever its clock.
_NAMES_KEPT = 86_400
#: Seconds to wait for Redis.
_SECONDS = 3.0


class Beat(msgspec.Struct, frozen=True):
    """What a worker tells of itself.

    Attributes:
        name: Celery's, unique among workers.
        host, pid: where its main process runs.
        version: of this package.
        processes: of its pool.
        busy: tasks that these are doing.
        stopping: it has been told to end, and takes no more.
        uptime: seconds since it was ready.
        seconds: since the beat before this one.
        recent: what was done in that time.
    """

    name: str
    host: str
    pid: int
    version: str
    processes: int
    busy: int
    stopping: bool
    uptime: float
    seconds: float
    recent: Counts


class SeenWorker(msgspec.Struct, frozen=True):
    """A worker as its last beat showed it, ``silent`` seconds ago by the clock of Redis."""

    beat: Beat
    silent: float

    @property
    def alive(self) -> bool:
        """Whether it has not missed two beats."""
        return self.silent < 3 * EVERY


def announce(result_url: str, tally: Tally) -> None:
    """Have the worker of this process tell that it is there, from when it is ready to its end.

    Parameters:
        result_url: the Redis of the results.
        tally: what its processes count in.
    """

    def begin(sender: Any, **_: object) -> None:
        presence = Presence(result_url, tally, sender)
        worker_shutting_down.connect(presence.stopping, weak=False)
        worker_shutdown.connect(presence.end, weak=False)
        presence.begin()

    worker_ready.connect(begin, weak=False)


class Presence:
    """Beats from a thread, so that a broker which does not answer holds up nothing.

    Parameters:
        result_url: as of `announce`.
        tally: likewise.
        consumer: Celery's, of the worker.
    """

    def __init__(self, result_url: str, tally: Tally, consumer: Any):
        self._redis = Redis.from_url(
            result_url,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._tally = tally
        self._consumer = consumer
        self._began = self._last = time.monotonic()
        self._before = tally.read()
        self._processes = 0
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zdk-presence", daemon=True)

    def begin(self) -> None:
        """Start beating."""
        self._thread.start()

    def stopping(self, **_: object) -> None:
        """Tell with the next beat that the worker is about to end."""
        # Called from a signal's handler, where no lock may be waited for.
        self._stopping = True

    def end(self, **_: object) -> None:
        """Stop beating, and take the last beat back."""
        self._ended.set()
        self._thread.join(2 * _SECONDS)

    def _run(self) -> None:
        try:
            self._beat()
            while not self._ended.wait(EVERY):
                self._beat()
            with self._redis.pipeline() as pipeline:
                pipeline.delete(_key(self._consumer.hostname))
                pipeline.zrem(NAMES_KEY, self._consumer.hostname)
                pipeline.execute()
        except (RedisError, OSError) as error:
            log.debug("a last beat could not be taken back: %s", error)
        finally:
            self._redis.close()

    def _beat(self) -> None:
        beat = self._look()
        now = time.time()
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.set(_key(beat.name), msgspec.json.encode(beat), ex=KEPT)
                pipeline.zadd(NAMES_KEY, {beat.name: now})
                pipeline.zremrangebyscore(NAMES_KEY, "-inf", now - _NAMES_KEPT)
                pipeline.execute()
        except (RedisError, OSError) as error:
            # The worker's own connections tell of the outage.
            log.debug("a beat could not be written: %s", error)

    def _look(self) -> Beat:
        # Celery lets go of the pool while it ends.
        self._processes = getattr(self._consumer.pool, "num_processes", self._processes)
        now, counts = time.monotonic(), self._tally.read()
        seconds, recent = now - self._last, counts - self._before
        self._last, self._before = now, counts
        return Beat(
            name=self._consumer.hostname,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            processes=self._processes,
            busy=len(active_requests),
            stopping=self._stopping,
            uptime=now - self._began,
            seconds=seconds,
            recent=recent,
        )


def read_workers(redis: Redis) -> list[SeenWorker]:
    """The workers that have beaten within the last ten minutes and not ended in order, by name.

    Raises:
        redis.exceptions.RedisError: it cannot be asked.
    """
    found: Any = redis.zrange(NAMES_KEY, 0, -1)
    names = [name.decode() for name in found]
    with redis.pipeline(transaction=True) as pipeline:
        for name in names:
            pipeline.get(_key(name))
            pipeline.pttl(_key(name))
        answers = pipeline.execute()
    return [
        SeenWorker(msgspec.json.decode(beat, type=Beat), max(0.0, KEPT - left / 1000))
        for beat, left in zip(answers[::2], answers[1::2], strict=True)
        if beat is not None
    ]


def _key(name: str) -> str:
    return f"zdk:worker:{name}"
