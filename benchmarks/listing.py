"""A page of 50 out of 100,000 sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from api_client import StorageClient
from benchmarks.bench import Bench
from benchmarks.payloads import APP
from benchmarks.peers.adk import AdkSessions
from benchmarks.servers import execute

_PAGE = 50
_USERS = 1_000


def run(bench: Bench) -> None:
    """Measure both."""
    ours, theirs = bench.size(100_000, 1_000), bench.size(5_000, 100)
    pages, lists = bench.size(30, 3), bench.size(2, 1)
    adk_url = bench.servers.database("adk")
    with (
        bench.storage("listing") as storage,
        storage.client() as client,
        closing(AdkSessions(adk_url)) as adk,
    ):
        execute(storage.database_url, _fill(ours), "VACUUM ANALYZE")
        adk.fill_sessions(theirs)
        execute(adk_url, "VACUUM ANALYZE")
        middle = _middle(client, ours)

        def page(cursor: str | None) -> Mapping[str, Sequence[float]]:
            return {"list sessions": [_page(client, cursor) for _ in range(pages)]}

        bench.compare(
            {
                "zdk": lambda: page(None),
                "zdk, from the middle": lambda: page(middle),
                "adk": lambda: {"list sessions": [adk.list_all() for _ in range(lists)]},
            }
        )


def _fill(count: int) -> str:
    """The statement that creates sessions: nothing here depends on how they came about."""
    return (
        "INSERT INTO sessions"
        " (app, user_id, session_id, revision, last_seq, created_at, updated_at)"
        f" SELECT '{APP}', 'user-' || n % {_USERS}, 'session-' || n, 0, 0, now(), now()"
        f" FROM generate_series(1, {count}) AS n"
    )


def _middle(client: StorageClient, count: int) -> str | None:
    """The cursor of a page half-way."""
    cursor, seen = None, 0
    while seen < count // 2:
        page = client.sessions.list(APP, limit=1000, cursor=cursor).result()
        cursor, seen = page.next_cursor, seen + len(page)
        if cursor is None:
            break
    return cursor


def _page(client: StorageClient, cursor: str | None) -> float:
    begin = time.perf_counter()
    page = client.sessions.list(APP, limit=_PAGE, cursor=cursor).result()
    seconds = time.perf_counter() - begin
    assert len(page) == _PAGE
    return seconds
