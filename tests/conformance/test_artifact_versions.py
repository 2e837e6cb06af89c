"""Version numbers of artifacts: from 1, without gaps or races, never used again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api_client import ArtifactDeleted, ArtifactKey, NotFound, Receipt, StorageClient

MakeKey = Callable[[str], ArtifactKey]


def numbers(client: StorageClient, key: ArtifactKey) -> list[int]:
    return [version.version for version in client.artifacts.versions(key).result()]


@pytest.fixture(params=["name", "user:name"])
def key(request: pytest.FixtureRequest, artifact: MakeKey) -> ArtifactKey:
    """An artifact of the session, then one of the user."""
    return artifact(request.param)


def test_they_count_from_one(client: StorageClient, key: ArtifactKey) -> None:
    for n in range(1, 6):
        assert client.artifacts.save(key, f"content {n}").result() == n
    assert numbers(client, key) == [1, 2, 3, 4, 5]
    for n in range(1, 6):
        loaded = client.artifacts.load(key, version=n).result()
        assert (loaded.version, loaded.text) == (n, f"content {n}")
    assert client.artifacts.load(key).result().text == "content 5"


def test_equal_content_is_a_new_version(client: StorageClient, key: ArtifactKey) -> None:
    for n in range(1, 4):
        assert client.artifacts.save(key, "same").result() == n
    assert numbers(client, key) == [1, 2, 3]
    client.artifacts.delete(key, version=2).result()
    assert [client.artifacts.load(key, version=n).result().text for n in (1, 3)] == ["same"] * 2


def test_names_count_each_for_itself(client: StorageClient, artifact: MakeKey) -> None:
    for n in range(1, 4):
        for name in ("a", "b", "user:a"):
            assert client.artifacts.save(artifact(name), name).result() == n


def test_saves_issued_without_waiting_count_in_order(
    client: StorageClient, key: ArtifactKey
) -> None:
    receipts = [client.artifacts.save(key, f"content {n}") for n in range(1, 51)]
    assert [receipt.result() for receipt in receipts] == [*range(1, 51)]
    for n in range(1, 51):
        assert client.artifacts.load(key, version=n).result().text == f"content {n}"


def test_small_and_large_saves_issued_together_count_in_order(
    client: StorageClient, key: ArtifactKey
) -> None:
    datas = [bytes([n]) * (200_000 if n % 2 else 10) for n in range(1, 9)]
    receipts = [client.artifacts.save(key, data) for data in datas]
    assert [receipt.result() for receipt in receipts] == [*range(1, 9)]
    for n, data in enumerate(datas, 1):
        assert client.artifacts.load(key, version=n).result().data == data


def test_versions_are_listed_with_all_but_their_bytes(
    client: StorageClient, key: ArtifactKey
) -> None:
    for n in range(1, 4):
        client.artifacts.save(key, "x" * n, mime_type=f"a/{n}", metadata={"n": [n]})
    page = client.artifacts.versions(key).result()
    assert [version.name for version in page] == [key.name] * 3
    assert [version.size for version in page] == [1, 2, 3]
    assert [version.mime_type for version in page] == ["a/1", "a/2", "a/3"]
    assert [version.metadata for version in page] == [{"n": [1]}, {"n": [2]}, {"n": [3]}]
    assert [version.sha256 for version in page] == [
        hashlib.sha256(b"x" * n).hexdigest() for n in (1, 2, 3)
    ]
    times = [version.created_at for version in page]
    assert times == sorted(times)


@pytest.mark.parametrize("limit", [1, 3, 4, 12, 13])
def test_versions_page_by_page(client: StorageClient, key: ArtifactKey, limit: int) -> None:
    for n in range(12):
        client.artifacts.save(key, str(n))
    client.artifacts.delete(key, version=5)
    found: list[int] = []
    cursor = None
    while True:
        page = client.artifacts.versions(key, limit=limit, cursor=cursor).result()
        found += [version.version for version in page]
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page) == limit
    assert found == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]


def test_seed_fault_deleted_numbers_are_used_again(client: StorageClient, key: ArtifactKey) -> None:
    for n in range(1, 4):
        client.artifacts.save(key, str(n)).result()
    deleted = client.artifacts.delete(key, version=3).result()
    assert deleted == ArtifactDeleted(versions=[3])
    assert client.artifacts.load(key).result().version == 2
    assert client.artifacts.save(key, "4").result() == 4
    assert numbers(client, key) == [1, 2, 4]
    deleted = client.artifacts.delete(key).result()
    assert deleted == ArtifactDeleted(versions=[1, 2, 4])
    assert isinstance(client.artifacts.load(key).exception(), NotFound)
    assert client.artifacts.save(key, "5").result() == 5
    assert numbers(client, key) == [5]
    for n in range(1, 5):
        assert isinstance(client.artifacts.load(key, version=n).exception(), NotFound)


def test_adk_fault_delete_then_save_reuses_a_number(
    client: StorageClient, key: ArtifactKey
) -> None:
    # Issued without waiting, and so applied in as few transactions as it gets.
    receipts: list[Receipt[Any]] = [
        client.artifacts.save(key, "1"),
        client.artifacts.delete(key),
        client.artifacts.save(key, "2"),
        client.artifacts.delete(key, version=2),
        client.artifacts.save(key, "3"),
        client.artifacts.save(key, "4"),
        client.artifacts.delete(key, version=1),
        client.artifacts.delete(key, version=4),
    ]
    expected = [
        1,
        ArtifactDeleted(versions=[1]),
        2,
        ArtifactDeleted(versions=[2]),
        3,
        4,
        NotFound,
        ArtifactDeleted(versions=[4]),
    ]
    for receipt, outcome in zip(receipts, expected, strict=True):
        if outcome is NotFound:
            assert isinstance(receipt.exception(), NotFound)
        else:
            assert receipt.result() == outcome
    assert numbers(client, key) == [3]
    assert client.artifacts.load(key).result().text == "3"


def test_deleting_twice(client: StorageClient, key: ArtifactKey) -> None:
    client.artifacts.save(key, "1").result()
    client.artifacts.delete(key, version=1).result()
    for receipt in (client.artifacts.delete(key, version=1), client.artifacts.delete(key)):
        with pytest.raises(NotFound):
            receipt.result()


@pytest.mark.parametrize("size", [10, 100_000])
def test_seed_fault_concurrent_saves_race_for_numbers_and_lose_data(
    clients: list[StorageClient], key: ArtifactKey, size: int
) -> None:
    threads, each = 6, 5
    start = threading.Barrier(threads)

    def save(number: int) -> list[tuple[int, bytes]]:
        client = clients[number % len(clients)]
        datas = [f"{number}-{n} ".encode() * (size // 4) for n in range(each)]
        start.wait()
        receipts = [client.artifacts.save(key, data) for data in datas]
        return [(r.result(), data) for r, data in zip(receipts, datas, strict=True)]

    with ThreadPoolExecutor(threads) as pool:
        saved = [found for own in pool.map(save, range(threads)) for found in own]
    assert sorted(number for number, _ in saved) == [*range(1, threads * each + 1)]
    assert numbers(clients[0], key) == [*range(1, threads * each + 1)]
    for number, data in saved:
        assert clients[0].artifacts.load(key, version=number).result().data == data


def test_concurrent_saves_and_deletes_never_use_a_number_twice(
    clients: list[StorageClient], key: ArtifactKey
) -> None:
    def save(number: int) -> list[int]:
        receipts = []
        for n in range(10):
            receipts.append(clients[number].artifacts.save(key, f"{number}-{n}"))
            clients[number].artifacts.delete(key)
        return [receipt.result() for receipt in receipts]

    with ThreadPoolExecutor(len(clients)) as pool:
        found = [n for own in pool.map(save, range(len(clients))) for n in own]
    assert sorted(found) == [*range(1, 10 * len(clients) + 1)]
    for client in clients:
        assert client.flush() == 0
    assert client.artifacts.save(key, "last").result() == 10 * len(clients) + 1
