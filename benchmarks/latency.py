"""How long one operation takes: until it is accepted, until it is applied."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial

from celery import Celery

from api_client import SessionKey, StorageClient
from api_client.contract.records import new_id
from benchmarks.bench import Bench
from benchmarks.payloads import event, events
from benchmarks.peers.adk import AdkSessions, adk_events
from benchmarks.peers.plain_celery import plain_celery
from benchmarks.throughput import create_sessions

_ECHO_SECONDS = 30.0
#: Events that are under way at most while others are timed under load.
_LOAD_WINDOW = 5_000
#: Seconds between two events that are timed under load.
_PAUSE = 0.02
#: Seconds for so many to be under way.
_FULL_SECONDS = 30.0


def run(bench: Bench) -> None:
    """Measure all contestants."""
    count = bench.size(200, 20)
    echo_broker = bench.servers.broker(1)
    with (
        bench.storage("latency", workers=bench.latency_workers) as storage,
        storage.client() as client,
        closing(AdkSessions(bench.servers.database("adk"))) as adk,
        plain_celery(
            bench.folder / "echo", echo_broker, None, workers=bench.latency_workers
        ) as app,
    ):

        def zdk() -> Mapping[str, Sequence[float]]:
            accepted, applied = append_singly(client, create_session(client), count)
            return {"accepted": accepted, "applied": applied}

        def under_load() -> Mapping[str, Sequence[float]]:
            key = create_session(client)
            with _load(client):
                return {"accepted under load": _accept_steadily(client, key, count // 2)}

        def adk_turn() -> Mapping[str, Sequence[float]]:
            return {"append": adk.append(adk.create(new_id()), adk_events(count))}

        def echo() -> Mapping[str, Sequence[float]]:
            return {"echo": [_echo(app) for _ in range(count)]}

        bench.compare({"zdk": zdk, "adk": adk_turn, "celery": echo, "zdk, loaded": under_load})


def create_session(client: StorageClient) -> SessionKey:
    """A new session, which is there."""
    return create_sessions(client, 1)[0]


def append_singly(
    client: StorageClient, key: SessionKey, count: int
) -> tuple[list[float], list[float]]:
    """Append events one at a time; return the seconds until each was accepted, and applied."""
    accepted, applied = [], []
    for made in events(count):
        begin = time.perf_counter()
        receipt = client.sessions.append(key, made)
        receipt.accepted.result()
        accepted.append(time.perf_counter() - begin)
        receipt.result()
        applied.append(time.perf_counter() - begin)
    return accepted, applied


def _accept_steadily(client: StorageClient, key: SessionKey, count: int) -> list[float]:
    """Append events at a steady rate, whatever becomes of those before; return the seconds until
    each was accepted. One that waited for the one before would miss most of the slow moments."""
    times: list[float] = []
    receipts = []
    for made in events(count):
        begin = time.perf_counter()
        receipts.append(client.sessions.append(key, made))
        # In the thread that resolves it: handing over to another one would count as latency.
        receipts[-1].accepted.when_done(partial(_note, times, begin))
        time.sleep(_PAUSE)
    for receipt in receipts:
        receipt.result()
    return times


def _note(times: list[float], begin: float, _: object) -> None:
    times.append(time.perf_counter() - begin)


@contextmanager
def _load(client: StorageClient) -> Iterator[None]:
    """Have a thread append to 200 sessions as fast as outcomes come."""
    keys = create_sessions(client)
    ended, full = threading.Event(), threading.Event()
    under_way = threading.Semaphore(_LOAD_WINDOW)

    def append() -> None:
        number = 0
        while not ended.is_set():
            if not under_way.acquire(blocking=False):
                full.set()
                under_way.acquire()
            receipt = client.sessions.append(keys[number % len(keys)], event(number))
            receipt.add_done_callback(lambda _: under_way.release())
            number += 1

    thread = threading.Thread(target=append)
    thread.start()
    try:
        full.wait(_FULL_SECONDS)
        yield
    finally:
        ended.set()
        # In case it waits for room that a failure never makes.
        under_way.release()
        thread.join()
        client.flush(60.0)


def _echo(app: Celery) -> float:
    begin = time.perf_counter()
    app.send_task("plain.echo", ["x"]).get(timeout=_ECHO_SECONDS)
    return time.perf_counter() - begin
