"""What each worker process owns: its storage object, built on first use, after the fork."""

from __future__ import annotations

import os
import threading

from celery.signals import worker_process_init, worker_process_shutdown
from redis import Redis

from worker.artifacts.blobs import open_blob_store
from worker.artifacts.staging import RedisStaging
from worker.database import Database
from worker.embedded.exec import die_with_parent
from worker.migrate import upgrade
from worker.settings import Settings
from worker.storage import Storage

_building = threading.Lock()
#: This module is imported before the pool forks.
_worker_pid = os.getpid()
_owned: dict[int, Storage] = {}


def storage() -> Storage:
    """The storage object of this process. Sockets shared over a fork would corrupt each other,
    so a forked child builds its own."""
    found = _owned.get(os.getpid())
    if found is not None:
        return found
    with _building:
        if os.getpid() not in _owned:
            _owned[os.getpid()] = open_storage(Settings())
        return _owned[os.getpid()]


def open_storage(settings: Settings) -> Storage:
    """A storage object by ``settings``, staged bytes coming from the result backend's Redis."""
    redis = Redis.from_url(settings.results, socket_timeout=30.0, socket_connect_timeout=3.0)
    database = Database(settings.database)
    if database.in_memory:
        # It begins empty in every process, so nobody else can have migrated it.
        upgrade(database)
    return Storage(
        database,
        open_blob_store(settings.artifacts_url),
        RedisStaging(redis),
        patience=settings.patience,
    )


@worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _die_with_worker(**_: object) -> None:
    # A pool process whose worker was killed would wait for work for ever. The solo pool has none.
    if os.getpid() != _worker_pid:
        die_with_parent(_worker_pid)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator, unused-ignore]
def _close(**_: object) -> None:
    found = _owned.pop(os.getpid(), None)
    if found is not None:
        found.close()
