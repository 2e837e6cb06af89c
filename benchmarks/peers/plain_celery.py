"""Workers of the plain Celery app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from sqlalchemy import create_engine

from benchmarks.peers.celery_app import BROKER_VARIABLE, DATABASE_VARIABLE, metadata
from benchmarks.processes import running_workers

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def plain_celery(
    folder: Path, broker_url: str, database_url: str | None, *, workers: int
) -> Iterator[Celery]:
    """An app to publish with, and prefork workers of `benchmarks.peers.celery_app` with one pool
    process each.

    Parameters:
        folder: for logs; created.
        broker_url: a Redis database of its own; results go there too.
        database_url: a PostgreSQL database; its table is created. None if only echoes are asked.
        workers: how many.
    """
    environment = {BROKER_VARIABLE: broker_url, "PYTHONPATH": str(_ROOT)}
    if database_url is not None:
        environment[DATABASE_VARIABLE] = database_url
        engine = create_engine(database_url)
        metadata.create_all(engine)
        engine.dispose()
    commands = [_command(number) for number in range(workers)]
    with (
        running_workers(commands, environment, folder),
        Celery("plain", broker=broker_url, backend=broker_url) as app,
    ):
        yield app


def _command(number: int) -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "worker"),
        *("--loglevel=INFO", "--concurrency=1", f"--hostname=plain-{number}@%h"),
    ]
