"""One of eight clients, in a process of its own: ``python -m benchmarks.small_client``.

Arguments: this project's broker, an outbox file, plain Celery's broker. Each line of its input
names a contestant and how many events to store, one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from celery import Celery

from api_client import SessionKey, StorageClient
from api_client.contract.events import encode_event
from api_client.contract.records import new_id
from benchmarks.payloads import APP, USER, events

_SESSIONS = 4
_WAIT_SECONDS = 60.0


def main() -> None:
    """Serve until the input ends."""
    broker_url, outbox, celery_url = sys.argv[1:]
    plain = Celery("plain", broker=celery_url, backend=celery_url)
    with StorageClient(broker_url, Path(outbox), wait_timeout=_WAIT_SECONDS) as client:
        keys = [SessionKey(APP, USER, new_id()) for _ in range(_SESSIONS)]
        for key in keys:
            client.sessions.create(key).result()
        work: dict[str, Callable[[int], None]] = {
            "zdk": lambda count: _append(client, keys, count),
            "celery": lambda count: _insert(plain, keys, count),
        }
        print("ready", flush=True)
        for line in sys.stdin:
            contestant, count = line.split()
            work[contestant](int(count))
            print("done", flush=True)


def _append(client: StorageClient, keys: list[SessionKey], count: int) -> None:
    for number, event in enumerate(events(count)):
        client.sessions.append(keys[number % len(keys)], event).result()


def _insert(plain: Celery, keys: list[SessionKey], count: int) -> None:
    for number, event in enumerate(events(count)):
        payload = bytes(encode_event(event)).decode()
        arguments = [keys[number % len(keys)].session, payload]
        plain.send_task("plain.insert", arguments).get(timeout=_WAIT_SECONDS)


if __name__ == "__main__":
    main()
