"""What the database and the disk can do when nothing else is asked of them."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import psycopg2

from api_client import Event
from api_client.contract.events import encode_event
from benchmarks.servers import execute, plain_url

_BATCH = 1000
_COPY = "events_copy"
_COLUMNS = ("session_pk", "seq", "event_id", "timestamp", "size", "payload")


class CopyLimit:
    """COPY into a temporary table, then INSERT ... ON CONFLICT DO NOTHING into a copy of the events
    table with its indexes, a thousand rows in each transaction, over one connection.

    Parameters:
        database_url: a migrated database of this project.
    """

    def __init__(self, database_url: str):
        self._url = database_url
        execute(
            database_url,
            f"DROP TABLE IF EXISTS {_COPY}",
            f"CREATE TABLE {_COPY} (LIKE events INCLUDING ALL)",
        )

    def write(self, events: Sequence[Event], sessions: int) -> float:
        """Write events into the emptied table; return how many per second.

        Parameters:
            events: their rows are made before the time is taken.
            sessions: over how many they are spread.
        """
        execute(self._url, f"TRUNCATE {_COPY}")
        batches = [
            _rows(events[begin : begin + _BATCH], begin, sessions)
            for begin in range(0, len(events), _BATCH)
        ]
        with contextlib.closing(psycopg2.connect(plain_url(self._url))) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE TEMP TABLE incoming (LIKE {_COPY}) ON COMMIT DELETE ROWS")
            begin = time.perf_counter()
            for batch in batches:
                with connection, connection.cursor() as cursor:
                    _insert(cursor, batch)
            return len(events) / (time.perf_counter() - begin)


def _insert(cursor: Any, rows: str) -> None:
    names = ", ".join(_COLUMNS)
    cursor.copy_expert(f"COPY incoming ({names}) FROM STDIN", io.StringIO(rows))
    cursor.execute(
        f"INSERT INTO {_COPY} ({names}) SELECT {names} FROM incoming ON CONFLICT DO NOTHING"
    )


def _rows(events: Sequence[Event], first: int, sessions: int) -> str:
    """Rows in COPY's text format."""
    now = datetime.now(timezone.utc).isoformat()
    lines = []
    for number, event in enumerate(events, first):
        payload = bytes(encode_event(event)).decode().replace("\\", "\\\\")
        row = (number % sessions + 1, number // sessions + 1, event.id, now, len(payload), payload)
        lines.append("\t".join(map(str, row)))
    return "\n".join([*lines, ""])
