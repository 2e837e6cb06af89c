"""Callers that are faster than the disk are held up, for a moment only."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from api_client import ArtifactKey, StorageClient, waiting
from api_client.outbox.spool import Spool
from api_client.waiting import Waiting

PATIENCE = 30.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that callers made, in place of waiting."""
    made: list[float] = []
    wait_for = threading.Condition.wait_for

    def noted(self: threading.Condition, predicate: object, timeout: float | None = None) -> bool:
        made.append(timeout or 0)
        return wait_for(self, predicate, 0)  # type: ignore[arg-type]

    monkeypatch.setattr(threading.Condition, "wait_for", noted)
    return made


@pytest.mark.parametrize(("count", "size"), [(256, 0), (4, 8 * 2**20)])
def test_a_caller_pauses_when_too_much_waits_and_then_goes_on(
    pauses: list[float], count: int, size: int
) -> None:
    some = Waiting()
    for _ in range(count):
        some.enter(size)
    assert pauses == []
    some.enter(size)
    assert pauses == [0.1]
    for _ in range(2):
        some.leave(size)
    some.enter(size)
    assert pauses == [0.1]


def test_whatever_becomes_of_a_source_it_waits_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    key = ArtifactKey("app", "user", "session", "a")
    with StorageClient.local(outbox=tmp_path / "o.db", block=PATIENCE) as client:
        assert client.artifacts.save(key, tmp_path / "file").result(PATIENCE) == 1
        assert client.artifacts.save(key, bytes(100_000)).result(PATIENCE) == 2

        def full(*_: object) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(Spool, "write", full)
        assert client.artifacts.save(key, tmp_path / "file").exception(PATIENCE) is not None
        found = client.artifacts._waiting
        assert (found._sources, found._bytes) == (0, 0)
    with pytest.raises(Exception, match="closed"):
        client.artifacts.save(key, tmp_path / "file")
    assert (found._sources, found._bytes) == (0, 0)
    assert waiting._MOST_SOURCES < 1024
