"""What each worker process owns: its storage object, built on first use, after the fork."""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass

from celery.signals import worker_init, worker_process_init, worker_process_shutdown
from redis import Redis

from worker.artifacts.blobs import open_blob_store
from worker.artifacts.staging import RedisStaging
from worker.broker.attempts import Attempts
from worker.broker.delivery import Deliveries
from worker.database import Database
from worker.dead_letters import Limits
from worker.embedded.exec import die_with_parent
from worker.migrate import upgrade
from worker.presence.tally import Tally
from worker.settings import Settings
from worker.storage import Storage
from worker.tracing.export import start_export, stop_export
from worker.watch import Watch, Watches

#: What this worker's processes have done. This module is imported before the pool forks.
tally = Tally()

_building = threading.Lock()
#: New objects after which Python looks for cycles. It does so after 700 by default, and each event
#: is some ten objects, none of which is part of a cycle.
_OBJECTS = 50_000
#: This module is imported before the pool forks.
_worker_pid = os.getpid()
_owned: dict[int, _Owned] = {}


@dataclass(frozen=True)
class _Owned:
    storage: Storage
    deliveries: Deliveries
    traced: bool


def storage() -> Storage:
    """The storage object of this process. Sockets shared over a fork would corrupt each other,
    so a forked child builds its own."""
    return _own().storage


def deliveries() -> Deliveries:
    """What applies messages to it as they are delivered."""
    return _own().deliveries


def _own() -> _Owned:
    found = _owned.get(os.getpid())
    if found is not None:
        return found
    with _building:
        if os.getpid() not in _owned:
            _owned[os.getpid()] = _build(Settings())
        return _owned[os.getpid()]


def _build(settings: Settings) -> _Owned:
    if settings.tracing:
        start_export()
    redis = open_redis(settings)
    built = open_storage(settings, redis, counted=settings.http_port is not None)
    return _Owned(
        built,
        Deliveries(
            built,
            Attempts(redis),
            max_tries=settings.max_tries,
            give_up_after=settings.give_up_after,
        ),
        settings.tracing,
    )


def open_redis(settings: Settings) -> Redis:
    """The Redis with results and staged bytes. No wait for it is without bound."""
    return Redis.from_url(settings.results, socket_timeout=30.0, socket_connect_timeout=3.0)


def open_storage(settings: Settings, redis: Redis, *, counted: bool = False) -> Storage:
    """A storage object by ``settings``, staged bytes coming from ``redis``.

    Parameters:
        counted: whether what it does is counted, for the worker's HTTP endpoint.
    """
    database = Database(settings.database)
    if database.in_memory:
        # It begins empty in every process, so nobody else can have migrated it.
        upgrade(database)
    watch: Watch = tally
    blobs = open_blob_store(settings.artifacts_url)
    if counted:
        # Imported only where something is counted.
        from worker.metrics.blobs import CountedBlobs
        from worker.metrics.work import counts

        watch = Watches(tally, counts())
        blobs = CountedBlobs(blobs, counts())
    return Storage(
        database,
        blobs,
        RedisStaging(redis),
        patience=settings.patience,
        limits=Limits(settings.dead_letters, settings.dead_letter_bytes),
        watch=watch,
    )


@worker_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _collect_seldom(**_: object) -> None:
    # What is loaded by now stays for good, and need not be looked at again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


@worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _die_with_worker(**_: object) -> None:
    # A pool process whose worker was killed would wait for work for ever. The solo pool has none.
    if os.getpid() != _worker_pid:
        die_with_parent(_worker_pid)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator, unused-ignore]
def _close(**_: object) -> None:
    found = _owned.pop(os.getpid(), None)
    if found is not None:
        found.storage.close()
        if found.traced:
            stop_export()
