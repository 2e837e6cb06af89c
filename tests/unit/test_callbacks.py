"""Callbacks of receipts may wait for the client that calls them, and do it no harm."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import Event, SessionKey, StorageClient
from api_client.outbox.callbacks import Callbacks

PATIENCE = 20.0
KEY = SessionKey("app", "user", "session")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def client(path: Path) -> Iterator[StorageClient]:
    with StorageClient.local(outbox=path, wait_timeout=PATIENCE) as opened:
        opened.sessions.create(KEY).result()
        yield opened


def append(client: StorageClient) -> Any:
    return client.sessions.append(KEY, Event(author="agent"))


def in_callback(client: StorageClient, call: Callable[[], object]) -> object:
    """What ``call`` returns or raises in a callback of a receipt."""
    # Held up, so that the callback is there before the outcome.
    go_on, over = threading.Event(), threading.Event()
    found: list[object] = []

    def run(_: object) -> None:
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)
        over.set()

    append(client).add_done_callback(lambda _: go_on.wait(PATIENCE))
    append(client).add_done_callback(run)
    go_on.set()
    assert over.wait(3 * PATIENCE)
    return found[0]


def test_the_result_of_another_operation(client: StorageClient) -> None:
    applied = in_callback(client, lambda: append(client).result())
    assert applied.events[0].seq == 3  # type: ignore[attr-defined]


def test_a_load(client: StorageClient) -> None:
    session = in_callback(client, lambda: client.sessions.load(KEY).result())
    assert session.revision >= 2  # type: ignore[attr-defined]


def test_a_flush(client: StorageClient) -> None:
    assert in_callback(client, lambda: (append(client), client.flush(PATIENCE))[1]) == 0


def test_the_end(client: StorageClient, path: Path) -> None:
    assert in_callback(client, lambda: client.close(PATIENCE)) == 0
    StorageClient.local(outbox=path).close()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_one_that_raises(
    client: StorageClient, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise error

    held = threading.Event()
    append(client).accepted.add_done_callback(lambda _: held.wait(PATIENCE))
    append(client).add_done_callback(fail)
    held.set()
    assert in_callback(client, lambda: append(client).result()) is not None
    assert "callback of a receipt" in caplog.text


def test_all_have_been_called_when_the_client_has_closed(path: Path) -> None:
    called: list[object] = []
    with StorageClient.local(outbox=path) as client:
        client.sessions.create(KEY)
        for _ in range(50):
            append(client).add_done_callback(called.append)
    assert len(called) == 50


def test_what_comes_after_the_end_is_called_at_once() -> None:
    callbacks, called = Callbacks(), list[int]()
    callbacks.submit(lambda: called.append(1))
    callbacks.close(PATIENCE)
    callbacks.submit(lambda: called.append(2))
    callbacks.submit(lambda: sys.exit())
    assert called == [1, 2]
