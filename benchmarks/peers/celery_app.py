"""A plain Celery app, as one writes it without this project: default settings, JSON, acks early.

``celery -A benchmarks.peers.celery_app worker`` runs it; `benchmarks.peers.plain_celery` starts it.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from celery import Celery
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, create_engine

#: Set by whoever starts the worker, or publishes to it.
BROKER_VARIABLE = "BENCH_CELERY_URL"
DATABASE_VARIABLE = "BENCH_CELERY_DATABASE"

app = Celery(
    "plain", broker=os.environ.get(BROKER_VARIABLE), backend=os.environ.get(BROKER_VARIABLE)
)
metadata = MetaData()
events = Table(
    "events",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("session_id", Text, nullable=False, index=True),
    Column("payload", Text, nullable=False),
)


@app.task(name="plain.echo")
def echo(value: Any) -> Any:
    """Return what was given."""
    return value


@app.task(name="plain.insert")
def insert(session_id: str, payload: str) -> int:
    """Insert one event; return its key."""
    with _engine().begin() as connection:
        statement = events.insert().values(session_id=session_id, payload=payload)
        return int(connection.execute(statement.returning(events.c.pk)).scalar_one())


@cache
def _engine() -> Engine:
    """One pool per process, made at first use: after the fork."""
    return create_engine(os.environ[DATABASE_VARIABLE])
