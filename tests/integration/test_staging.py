"""Where large bytes wait for their message: in the blob store, or in Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from api_client import ArtifactKey, StorageClient
from api_client.contract.staging import CHUNK_BYTES
from tests.integration.conftest import Site

KEY = ArtifactKey("app", "user", "session", "big")
BIG = bytes(range(256)) * 12_000


def staged(site: Site) -> list[bytes]:
    with redis.Redis.from_url(site.broker_url) as client:
        return [*client.scan_iter("zdk:staged:*")]


@pytest.fixture
def folder(site: Site) -> Path:
    return Path(site.environment["ZDK_ARTIFACTS_URL"].removeprefix("file://"))


def test_bytes_wait_in_redis_and_are_gone_once_saved(site: Site, tmp_path: Path) -> None:
    with StorageClient(site.broker_url, tmp_path / "outbox.db") as client:
        receipt = client.artifacts.save(KEY, BIG)
        receipt.accepted.result(timeout=10)
        client.flush(timeout=1)
        assert len(staged(site)) == 3
        with site.worker():
            assert receipt.result(timeout=60) == 1
            assert client.artifacts.load(KEY).result().data == BIG
            assert staged(site) == []


def test_bytes_go_straight_into_a_folder_within_reach(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    url = site.environment["ZDK_ARTIFACTS_URL"]
    with StorageClient(site.broker_url, tmp_path / "o.db", artifacts_url=url) as client:
        receipt = client.artifacts.save(KEY, BIG)
        client.flush(timeout=1)
        assert [path.stat().st_size for path in folder.glob("??/*")] == [len(BIG)]
        assert staged(site) == []
        with site.worker():
            assert receipt.result(timeout=60) == 1
            assert client.artifacts.load(KEY).result().data == BIG


def test_bytes_in_a_folder_that_is_not_the_workers_go_through_redis(
    site: Site, tmp_path: Path
) -> None:
    wrong = f"file://{tmp_path / 'elsewhere'}"
    with (
        site.worker(),
        StorageClient(site.broker_url, tmp_path / "o.db", artifacts_url=wrong) as client,
    ):
        assert client.artifacts.save(KEY, BIG).result(timeout=60) == 1
        assert client.artifacts.load(KEY).result().data == BIG


def test_staged_bytes_that_expired_are_staged_again(site: Site, tmp_path: Path) -> None:
    with StorageClient(site.broker_url, tmp_path / "outbox.db") as client:
        receipt = client.artifacts.save(KEY, BIG)
        client.flush(timeout=1)
        with redis.Redis.from_url(site.broker_url) as direct:
            direct.delete(*staged(site))
        with site.worker():
            assert receipt.result(timeout=60) == 1
            assert client.artifacts.load(KEY).result().data == BIG


@pytest.mark.parametrize("staged_wrong", [b"wrong", bytes(CHUNK_BYTES)])
def test_staged_bytes_that_are_wrong_are_staged_anew(
    site: Site, tmp_path: Path, staged_wrong: bytes
) -> None:
    with StorageClient(site.broker_url, tmp_path / "outbox.db") as client:
        receipt = client.artifacts.save(KEY, BIG)
        client.flush(timeout=1)
        with redis.Redis.from_url(site.broker_url) as direct:
            direct.set(min(staged(site)), staged_wrong)
        with site.worker():
            assert receipt.result(timeout=60) == 1
            assert client.artifacts.load(KEY).result().data == BIG
