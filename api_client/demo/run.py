"""Stores the inputs, kills a worker half-way, loads everything back, and compares."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from api_client.client import StorageClient
from api_client.contract.errors import StorageError
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.records import Artifact, Event
from api_client.demo.inputs import Inputs
from api_client.receipts import Receipt

KEY = SessionKey("zdk-demo", "newcomer", "repository")
#: Loads on their way at a time.
_LOADS = 64
#: Seconds for any single operation, a killed worker included.
_PATIENCE = 120.0


@dataclass
class Measured:
    """What was seen. Latencies are in seconds, from the call."""

    operations: int = 0
    applied: int = 0
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    bytes: int = 0
    accepted_latency: list[float] = field(default_factory=list)
    applied_latency: list[float] = field(default_factory=list)
    loaded_latency: list[float] = field(default_factory=list)
    store_seconds: float = 0.0
    load_seconds: float = 0.0
    loaded: int = 0


#: Called with the name of a step and how many more operations have passed it.
OnProgress = Callable[[str, int], None]


def store(
    client: StorageClient,
    inputs: Inputs,
    measured: Measured,
    on_progress: OnProgress,
    half_way: Callable[[], None],
) -> None:
    """Store all inputs.

    Parameters:
        half_way: called once, when the first half is applied and the second is on its way.
    """
    watch = _Watch(measured, on_progress)
    calls = list(_calls(client, inputs))
    half = len(calls) // 2
    begun = time.monotonic()
    _await_all([watch.follow(call) for call in calls[:half]], measured)
    receipts = [watch.follow(call) for call in calls[half:]]
    half_way()
    _await_all(receipts, measured)
    measured.store_seconds = time.monotonic() - begun


def verify(
    client: StorageClient, inputs: Inputs, measured: Measured, on_progress: OnProgress
) -> None:
    """Load everything back; note what is missing, different, or there more than once."""
    begun = time.monotonic()
    for name, artifact in _load_all(client, inputs, measured):
        expected = inputs.files[name].read_bytes()
        if artifact.data != expected:
            measured.lost.append(f"{name}: the bytes differ")
        if artifact.version != 1:
            measured.duplicated.append(f"{name}: version {artifact.version}")
        measured.bytes += len(expected)
        measured.loaded += 1
        on_progress("load", 1)
    _verify_events(client, inputs.events, measured)
    on_progress("load", len(inputs.events))
    measured.load_seconds = time.monotonic() - begun


class _Watch:
    """Follows receipts as they resolve; its callbacks run in the client's threads."""

    def __init__(self, measured: Measured, on_progress: OnProgress):
        self._measured = measured
        self._on_progress = on_progress

    def follow(self, call: Callable[[], Receipt[Any]]) -> Receipt[Any]:
        """Make the call, and measure from there."""
        begun = time.monotonic()
        receipt = call()
        self._measured.operations += 1
        receipt.accepted.add_done_callback(lambda _: self._accepted(begun))
        receipt.add_done_callback(lambda done: self._applied(begun, done.exception() is None))
        return receipt

    def _accepted(self, begun: float) -> None:
        self._measured.accepted_latency.append(time.monotonic() - begun)
        self._on_progress("accept", 1)

    def _applied(self, begun: float, ok: bool) -> None:
        self._measured.applied_latency.append(time.monotonic() - begun)
        self._measured.applied += ok
        self._on_progress("apply", 1)


def _await_all(receipts: list[Receipt[Any]], measured: Measured) -> None:
    for receipt in receipts:
        try:
            receipt.result(timeout=_PATIENCE)
        except (StorageError, TimeoutError) as error:
            measured.failed.append(str(error))


def _calls(client: StorageClient, inputs: Inputs) -> Iterator[Callable[[], Receipt[Any]]]:
    yield partial(client.sessions.create, KEY, state={"kind": inputs.kind})
    for event in inputs.events:
        yield partial(client.sessions.append, KEY, event)
    for name, path in inputs.files.items():
        yield partial(client.artifacts.save, _key(name), path)


def _load_all(
    client: StorageClient, inputs: Inputs, measured: Measured
) -> Iterator[tuple[str, Artifact]]:
    names = list(inputs.files)
    for start in range(0, len(names), _LOADS):
        begun = time.monotonic()
        batch = names[start : start + _LOADS]
        asked = [(name, client.artifacts.load(_key(name))) for name in batch]
        for name, receipt in asked:
            try:
                artifact = receipt.result(timeout=_PATIENCE)
                measured.loaded_latency.append(time.monotonic() - begun)
                yield name, artifact
            except (StorageError, TimeoutError) as error:
                measured.lost.append(f"{name}: {error}")


def _key(name: str) -> ArtifactKey:
    # A session for each top-level name, so that several messages are on their way at a time.
    return ArtifactKey(KEY.app, KEY.user, name.partition("/")[0][:64], name)


def _verify_events(client: StorageClient, expected: list[Event], measured: Measured) -> None:
    session = client.sessions.load(KEY).result(timeout=_PATIENCE)
    stored = [(e.id, e.author, e.content, e.timestamp) for e in session.events]
    given = [(e.id, e.author, e.content, e.timestamp) for e in expected]
    counts = Counter(event.id for event in session.events)
    measured.lost += [f"event {event[0]}" for event in given if event not in stored]
    measured.duplicated += [f"event {name}" for name, count in counts.items() if count > 1]
    if not measured.lost and stored != given:
        measured.lost.append("events: the order differs")
    if [event.seq for event in session.events] != list(range(1, len(stored) + 1)):
        measured.lost.append("events: seq has gaps")
