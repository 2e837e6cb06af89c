"""Events applied per second, each until its outcome is known, by one client process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from api_client import Event, SessionKey, StorageClient
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.payloads import APP, USER, events
from benchmarks.peers.adk import AdkSessions, adk_events
from benchmarks.peers.langgraph import (
    LangGraphSavers,
    Put,
    conversation_puts,
    inline_puts,
    message_puts,
)
from benchmarks.peers.limits import CopyLimit
from benchmarks.servers import execute

METRIC = "applied events"
_SESSIONS = 200
_AT_ONCE = 16


def run(bench: Bench) -> None:
    """Measure all contestants."""
    urls = {name: bench.servers.database(name) for name in ("adk", "langgraph")}
    with (
        bench.storage("throughput") as storage,
        storage.client() as client,
        closing(AdkSessions(urls["adk"])) as adk,
        closing(LangGraphSavers(urls["langgraph"], _AT_ONCE)) as savers,
    ):
        limit = CopyLimit(storage.database_url)
        ours = bench.size(40_000, 4_000)
        few, several = bench.size(640, 64), bench.size(4_000, 320)

        def zdk() -> Mapping[str, Sequence[float]]:
            empty_tables(storage.database_url)
            return {METRIC: [append_all(client, create_sessions(client), events(ours))]}

        def adk_turn() -> Mapping[str, Sequence[float]]:
            execute(urls["adk"], "TRUNCATE events, sessions CASCADE")
            sessions = [adk.create(new_id()) for _ in range(_AT_ONCE)]
            return {METRIC: [adk.append_at_once(sessions, adk_events(few))]}

        def langgraph_turn(puts: list[Put]) -> Mapping[str, Sequence[float]]:
            execute(urls["langgraph"], "TRUNCATE checkpoints, checkpoint_blobs")
            return {METRIC: [savers.put_at_once(new_id(), puts)]}

        def limit_turn() -> Mapping[str, Sequence[float]]:
            return {METRIC: [limit.write(events(ours), _SESSIONS)]}

        bench.compare(
            {
                "zdk": zdk,
                "adk": adk_turn,
                "langgraph": lambda: langgraph_turn(message_puts(several)),
                "langgraph, conversation": lambda: langgraph_turn(conversation_puts(few, _AT_ONCE)),
                "langgraph, inline": lambda: langgraph_turn(inline_puts(several)),
                "copy": limit_turn,
            }
        )


def empty_tables(database_url: str) -> None:
    """Remove what earlier rounds have left, when nothing is under way."""
    execute(database_url, "TRUNCATE sessions, events, session_state, ledger CASCADE")


def create_sessions(client: StorageClient, count: int = _SESSIONS) -> list[SessionKey]:
    """Create sessions with fresh ids and wait until they are there."""
    keys = [SessionKey(APP, USER, new_id()) for _ in range(count)]
    for receipt in [client.sessions.create(key) for key in keys]:
        receipt.result()
    return keys


def append_all(client: StorageClient, keys: Sequence[SessionKey], made: Sequence[Event]) -> float:
    """Append events to the sessions in turn, one call each, and wait for every outcome.

    Returns how many were applied per second, from the first call to the last outcome.
    """
    begin = time.perf_counter()
    receipts = [
        client.sessions.append(keys[number % len(keys)], event) for number, event in enumerate(made)
    ]
    for receipt in receipts:
        receipt.result()
    return len(made) / (time.perf_counter() - begin)
