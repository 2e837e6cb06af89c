"""Appending to sessions, and loading them, by how many events they hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial

from api_client import SessionKey, StorageClient
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.latency import append_singly
from benchmarks.load import filled_session
from benchmarks.peers.adk import AdkSessions, adk_events

_LENGTHS = (0, 200, 2_000, 20_000)
#: A session of 20,000 events takes ADK minutes.
_ADK_LENGTHS = _LENGTHS[:-1]
#: Sessions up to here are made anew for each round, so that they have the length they are said to.
_FRESH = 2_000
_LOADS = 3


def at(contestant: str, length: int) -> str:
    """The name of a contestant at a length."""
    return f"{contestant} at {length}"


def run(bench: Bench) -> None:
    """Measure both at each length."""
    appends = bench.size(50, 5)
    with (
        bench.storage("growth", workers=bench.latency_workers) as storage,
        storage.client() as client,
        closing(AdkSessions(bench.servers.database("adk"))) as adk,
    ):
        turns: dict[str, Callable[[], Mapping[str, Sequence[float]]]] = {}
        for length in _LENGTHS:
            kept = filled_session(client, length) if length > _FRESH else None
            turns[at("zdk", length)] = partial(_zdk, client, length, appends, kept)
        for length in _ADK_LENGTHS:
            turns[at("adk", length)] = partial(_adk, adk, length, appends)
        bench.compare(turns)


def _zdk(
    client: StorageClient, length: int, appends: int, kept: SessionKey | None
) -> Mapping[str, Sequence[float]]:
    key = kept or filled_session(client, length)
    # First, because a long session leaves much memory to be cleared away.
    _, applied = append_singly(client, key, appends)
    loads = [_load(client, key) for _ in range(_LOADS)]
    return {"load by length": loads, "append by length": applied}


def _load(client: StorageClient, key: SessionKey) -> float:
    begin = time.perf_counter()
    client.sessions.load(key).result()
    return time.perf_counter() - begin


def _adk(adk: AdkSessions, length: int, appends: int) -> Mapping[str, Sequence[float]]:
    session_id = new_id()
    session = adk.fill(session_id, length)
    appended = adk.append(session, adk_events(appends))
    loads = [adk.load(session_id) for _ in range(_LOADS)]
    return {"load by length": loads, "append by length": appended}
