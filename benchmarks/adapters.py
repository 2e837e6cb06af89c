"""ADK's events through our adapter for ADK, and through ADK's own service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from api_client import StorageClient
from api_client.adapters.adk import ZdkSessionService
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.peers.adk import AdkService, AdkSessions, adk_events
from benchmarks.rounds import Turn

_FLUSH_SECONDS = 60.0


def run(bench: Bench) -> None:
    """Measure all contestants."""
    length, loads = bench.size(2_000, 200), bench.size(5, 1)
    appends = bench.size(200, 20)
    with (
        bench.storage("adapters", workers=bench.latency_workers) as storage,
        storage.client() as client,
        closing(AdkSessions(bench.servers.database("adk"))) as adk,
        closing(AdkService(ZdkSessionService(client))) as applied,
        closing(AdkService(ZdkSessionService(client, ack="accepted"))) as accepted,
    ):
        session_id = _fill_both(accepted, adk, length)

        def loading(service: AdkService) -> Turn:
            return lambda: {"adapter load": [service.load(session_id) for _ in range(loads)]}

        def appending(service: AdkService) -> Turn:
            return lambda: _append(service, client, appends)

        # What an append leaves to the worker must not be under way while others load.
        bench.compare({"zdk": loading(applied), "adk": loading(adk)})
        bench.compare(
            {
                "zdk, accepted": appending(accepted),
                "zdk, applied": appending(applied),
                "adk": appending(adk),
            }
        )


def _fill_both(ours: AdkService, adk: AdkSessions, length: int) -> str:
    """Make the same session of that many events in both, and see that it loads as the same."""
    session_id = new_id()
    theirs = adk.fill(session_id, length)
    # Appending adds each event to the session it is given, too.
    ours.append(ours.create(session_id), theirs.events)
    loaded = ours.get(session_id)
    assert len(loaded.events) == length
    assert loaded.events == theirs.events
    assert loaded.state == theirs.state
    return session_id


def _append(
    service: AdkService, client: StorageClient, count: int
) -> Mapping[str, Sequence[float]]:
    """Append events to a new session, one at a time."""
    seconds = service.append(service.create(new_id()), adk_events(count))
    # The next one's time is not for applying what was only accepted in this one's.
    client.flush(_FLUSH_SECONDS)
    return {"adapter append": seconds}
