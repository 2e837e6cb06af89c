"""A client of the drill: ``python -m tests.drill.client``. Appends numbers to a session of its own,
and saves some as artifacts, until told to stop; then it drains. Writes down what it is told."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from api_client import ArtifactKey, Event, SessionKey, StorageClient
from tests.faults.history import HistoryWriter, Line

#: Seconds between two operations.
_PAUSE = 0.01
_DRAIN_SECONDS = 90.0
_SAVE_EVERY = 10
_MOST_PENDING = 3000


def main() -> None:
    """Issue, drain, and exit with 0 if nothing is pending."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill.client")
    for name in ("--name", "--broker"):
        parser.add_argument(name, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    name, folder = arguments.name, arguments.folder
    history = HistoryWriter(folder / f"{name}.history")
    client = StorageClient(arguments.broker, folder / f"{name}.outbox")
    key = SessionKey("drill", name, "session")
    client.sessions.create(key)
    number = 0
    while not (folder / "stop").exists():
        # The pace of the workload; nothing is waited for.
        time.sleep(_PAUSE)
        if client.pending < _MOST_PENDING:
            number += 1
            _issue(client, key, number, history)
    left = client.flush(timeout=_DRAIN_SECONDS)
    client.close(0.0)
    history.close()
    sys.exit(1 if left else 0)


def data_of(name: str, number: int) -> bytes:
    """The bytes of an artifact: some are in the message, some are staged."""
    return f"{name} {number} ".encode() * (10_000 if number % 100 == 0 else 10)


def _issue(client: StorageClient, key: SessionKey, number: int, history: HistoryWriter) -> None:
    id_ = str(number)
    if number % _SAVE_EVERY:
        receipt: Any = client.sessions.append(key, Event(author="drill", content=number))
    else:
        place = ArtifactKey(key.app, key.user, key.session, f"{number}.txt")
        receipt = client.artifacts.save(place, data_of(key.user, number))

    def accepted(done: Future[None]) -> None:
        if done.exception() is None:
            history.soon(Line(what="accepted", id=id_))

    def applied(done: Future[Any]) -> None:
        error = done.exception()
        code = "" if error is None else str(error)
        history.soon(Line(what="applied" if error is None else "failed", id=id_, code=code))

    receipt.accepted.add_done_callback(accepted)
    receipt.add_done_callback(applied)


if __name__ == "__main__":
    main()
