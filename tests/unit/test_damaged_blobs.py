"""Bytes that have changed in the blob store: never handed out, and put right by a save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_client import StorageClient, artifacts
from api_client.contract.errors import Unavailable
from api_client.contract.operations import LoadArtifact
from api_client.contract.outcomes import QueryReply
from tests.support.artifacts import StagedBytes, apply, key, load, reference, save, saving
from worker.artifacts import reads
from worker.artifacts.blobs import BlobStore, FilesystemBlobStore
from worker.artifacts.verify import Verification
from worker.database import Database, DatabaseOptions
from worker.migrate import upgrade
from worker.storage import Storage

DATA = bytes(range(256)) * 20
NAME = reference(DATA).sha256

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 0x80]),
    "shorter": lambda data: data[:-1],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    return tmp_path / "blobs" / NAME[:2] / NAME


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    database = Database(DatabaseOptions("sqlite://"))
    upgrade(database)
    store = FilesystemBlobStore(tmp_path / "blobs")
    opened = Storage(database, store, StagedBytes({NAME: [DATA]}), patience=0)
    save(opened, "a", DATA)
    yield opened
    database.close()


def ask(storage: Storage, start: int, length: int | None) -> QueryReply:
    return storage.query(LoadArtifact(key=key("a"), start=start, length=length))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("start", "length"), [(0, None), (0, len(DATA)), (10, 5), (len(DATA) - 1, None), (0, 1)]
)
def test_the_worker_hands_out_no_part_of_damaged_bytes(
    storage: Storage, blob: Path, damage: str, start: int, length: int | None
) -> None:
    assert ask(storage, start, length).error is None
    blob.write_bytes(DAMAGES[damage](DATA))
    error = ask(storage, start, length).error
    assert error is not None
    assert error.code == Unavailable.code
    assert "damaged" in error.message
    assert "zdk artifacts verify" in error.message


def test_ranges_are_checked_up_to_a_size(
    storage: Storage, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob.write_bytes(DAMAGES["last bit"](DATA))
    monkeypatch.setattr(reads, "CHECKED_BYTES", len(DATA))
    assert ask(storage, 0, 5).error is not None
    monkeypatch.setattr(reads, "CHECKED_BYTES", len(DATA) - 1)
    assert ask(storage, 0, 5).error is None


def test_the_client_checks_whole_loads_of_what_is_larger(
    blob: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reads, "CHECKED_BYTES", 100)
    monkeypatch.setattr(reads, "MAX_REPLY_BYTES", 1000)
    with StorageClient.local("sqlite://", f"file://{tmp_path / 'blobs'}") as client:
        client.artifacts.save(key("a"), DATA).result(30)
        assert client.artifacts.load(key("a")).result(30).data == DATA
        blob.write_bytes(DAMAGES["last bit"](DATA))
        for into in (None, tmp_path / "file"):
            with pytest.raises(Unavailable, match=r"damaged; zdk artifacts verify"):
                client.artifacts.load(key("a"), into=into).result(30)


def test_a_large_artifact_is_loaded_in_ranges_that_take_little_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(artifacts, "_LARGE_BYTES", 4000)
    monkeypatch.setattr(artifacts, "_RANGE_BYTES", 1500)
    monkeypatch.setattr(reads, "MAX_REPLY_BYTES", 2000)
    asked: list[tuple[int, int | None]] = []
    load_range = reads.load

    def noted(blobs: BlobStore, found: reads.VersionReply, query: LoadArtifact) -> object:
        asked.append((query.start, query.length))
        return load_range(blobs, found, query)

    monkeypatch.setattr(reads, "load", noted)
    with StorageClient.local("sqlite://", f"file://{tmp_path / 'blobs'}") as client:
        client.artifacts.save(key("a"), DATA).result(30)
        assert client.artifacts.load(key("a")).result(30).data == DATA
        assert asked == [(0, None), (2000, 1500), (3500, 1500), (5000, 120)]
        asked.clear()
        found = client.artifacts.load(key("a"), start=100, length=4000).result(30)
        assert found.data == DATA[100:4100]
        assert asked == [(100, 4000), (2100, 1500), (3600, 500)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_save_of_the_same_small_content_puts_it_right(
    storage: Storage, blob: Path, damage: str
) -> None:
    blob.write_bytes(DAMAGES[damage](DATA))
    assert save(storage, "b", DATA) == 1
    assert load(storage, "a") == DATA
    assert load(storage, "b") == DATA


def test_what_is_right_is_not_written_again(storage: Storage, blob: Path) -> None:
    before = blob.stat().st_ino
    save(storage, "b", DATA)
    assert blob.stat().st_ino == before


def test_a_save_of_staged_content_puts_it_right_once_it_is_in_quarantine(
    storage: Storage, blob: Path
) -> None:
    blob.write_bytes(DAMAGES["zeros"](DATA))
    # Not compared, because that would mean reading all of what may be large.
    apply(storage, saving("b", DATA, staged=True))
    assert ask(storage, 0, None).error is not None
    assert isinstance(storage.blobs, FilesystemBlobStore)
    list(Verification(storage.database, storage.blobs, quarantine=storage.blobs).run())
    renewed = Storage(storage.database, storage.blobs, StagedBytes({NAME: [DATA]}), patience=0)
    apply(renewed, saving("c", DATA, staged=True))
    assert [load(storage, name) for name in "abc"] == [DATA] * 3
