"""Loading a session of 2,000 events, whole and its last 20."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from api_client import SessionKey, StorageClient
from api_client.contract.limits import MAX_EVENTS_PER_APPEND
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.latency import create_session
from benchmarks.payloads import events
from benchmarks.peers.adk import AdkSessions
from benchmarks.peers.openai_agents import OpenAiSession

_LAST = 20


def run(bench: Bench) -> None:
    """Measure all contestants."""
    length = bench.size(2_000, 200)
    wholes, lasts = bench.size(5, 1), bench.size(30, 3)
    database = bench.servers.database
    with (
        bench.storage("load", workers=bench.latency_workers) as storage,
        storage.client() as client,
        closing(AdkSessions(database("adk"))) as adk,
        closing(OpenAiSession(database("agents"), length)) as agents,
    ):
        key = filled_session(client, length)
        adk_session = new_id()
        adk.fill(adk_session, length)

        def zdk() -> Mapping[str, Sequence[float]]:
            return {
                "load": [timed_load(client, key, None, length) for _ in range(wholes)],
                "load last 20": [timed_load(client, key, _LAST, _LAST) for _ in range(lasts)],
            }

        def adk_turn() -> Mapping[str, Sequence[float]]:
            return {
                "load": [adk.load(adk_session) for _ in range(wholes)],
                "load last 20": [adk.load(adk_session, _LAST) for _ in range(lasts)],
            }

        def agents_turn() -> Mapping[str, Sequence[float]]:
            return {
                "load": [agents.load() for _ in range(wholes)],
                "load last 20": [agents.load(_LAST) for _ in range(lasts)],
            }

        bench.compare({"zdk": zdk, "adk": adk_turn, "openai-agents": agents_turn})


def filled_session(client: StorageClient, length: int) -> SessionKey:
    """A session with that many events."""
    key = create_session(client)
    made = events(length)
    for begin in range(0, length, MAX_EVENTS_PER_APPEND):
        client.sessions.append(key, made[begin : begin + MAX_EVENTS_PER_APPEND]).result()
    return key


def timed_load(client: StorageClient, key: SessionKey, last: int | None, expected: int) -> float:
    """Load a session, or its last events; return the seconds that it took."""
    begin = time.perf_counter()
    session = client.sessions.load(key, last=last).result()
    seconds = time.perf_counter() - begin
    assert len(session.events) == expected
    return seconds
