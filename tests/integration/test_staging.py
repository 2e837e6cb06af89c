"""Where large bytes wait for their message: in the blob store, or in Redis."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from api_client import ArtifactKey, SessionKey, StorageClient
from api_client.contract.errors import Unavailable
from api_client.contract.staging import CHUNK_BYTES, PART_BYTES
from api_client.transport.base import BlobFile
from api_client.transport.celery import CeleryTransport
from api_client.transport.uploads import Uploads
from tests.integration.conftest import Site
from tests.support.artifacts import reference
from tests.support.programs import clean_environment
from tests.support.waiting import wait_until

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


PATIENCE = 60.0
#: Several parts, and a rest.
LARGE = b"".join(bytes([n]) * PART_BYTES for n in range(11)) + b"the rest"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "large").write_bytes(LARGE)
    return tmp_path / "large"


def peak(site: Site) -> int:
    """The most bytes of memory that the broker has had."""
    with redis.Redis.from_url(site.broker_url) as client:
        return int(client.info("memory")["used_memory_peak"])


class TestLargeFiles:
    def test_they_pass_through_redis_without_filling_it(
        self,
        site: Site,
        folder: Path,
        tmp_path: Path,
        large: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        outbox = tmp_path / "outbox.db"
        with site.worker(concurrency=2), StorageClient(site.broker_url, outbox) as client:
            assert client.artifacts.save(KEY, large).result(timeout=PATIENCE) == 1
            assert peak(site) < len(LARGE) - 3 * PART_BYTES
            assert staged(site) == []
            client.artifacts.load(KEY, into=tmp_path / "back").result(timeout=PATIENCE)
            assert (tmp_path / "back").read_bytes() == LARGE
            # The same again: nothing is sent.
            sent = parts_sent(monkeypatch)
            other = ArtifactKey("app", "user", "session", "copy")
            assert client.artifacts.save(other, large).result(timeout=PATIENCE) == 1
            assert sent == []
        assert [path.name for path in folder.glob("uploads/*")] == []
        assert [path.stat().st_size for path in folder.glob("??/*")] == [len(LARGE)]

    def test_without_a_worker_they_wait_beside_the_outbox_and_hold_up_nobody(
        self, site: Site, tmp_path: Path, large: Path
    ) -> None:
        with StorageClient(site.broker_url, tmp_path / "o.db") as client:
            waiting = [
                client.artifacts.save(ArtifactKey("app", "user", f"s-{n}", "big"), large)
                for n in range(4)
            ]
            for receipt in waiting:
                receipt.accepted.result(timeout=PATIENCE)
            # All who send large bytes wait for an answer by now; accepting more does not.
            behind = client.artifacts.save(ArtifactKey("app", "user", "other", "big"), BIG)
            behind.accepted.result(timeout=PATIENCE)
            assert peak(site) < PART_BYTES
            with site.worker(concurrency=2):
                assert [receipt.result(timeout=PATIENCE) for receipt in waiting] == [1] * 4
                assert behind.result(timeout=PATIENCE) == 1

    def test_a_client_that_is_restarted_in_the_middle_sends_the_rest(
        self, site: Site, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with site.worker():
            with monkeypatch.context() as interrupted:
                sent = parts_sent(interrupted, most=5)
                client = StorageClient(site.broker_url, tmp_path / "o.db")
                client.artifacts.save(KEY, large).accepted.result(timeout=PATIENCE)
                wait_until(lambda: len(sent) > 5, "five parts to be sent", timeout=PATIENCE)
                client.close(timeout=0)
            rest = parts_sent(monkeypatch)
            with StorageClient(site.broker_url, tmp_path / "o.db") as client:
                assert client.flush(timeout=PATIENCE) == 0
                assert [v.version for v in client.artifacts.versions(KEY).result()] == [1]
                client.artifacts.load(KEY, into=tmp_path / "back").result(timeout=PATIENCE)
        assert (tmp_path / "back").read_bytes() == LARGE
        assert {0, 1, 2, 3, 4}.isdisjoint(rest)

    def test_two_clients_send_the_same_at_once(
        self, site: Site, folder: Path, tmp_path: Path, large: Path
    ) -> None:
        with site.worker(concurrency=2):
            clients = [StorageClient(site.broker_url, tmp_path / f"{n}.db") for n in range(2)]
            receipts = [
                client.artifacts.save(ArtifactKey("app", "user", f"s-{n}", "big"), large)
                for n, client in enumerate(clients)
            ]
            assert [receipt.result(timeout=PATIENCE) for receipt in receipts] == [1, 1]
            for client in clients:
                client.close()
        assert [path.stat().st_size for path in folder.glob("??/*")] == [len(LARGE)]


def parts_sent(monkeypatch: pytest.MonkeyPatch, most: int | None = None) -> list[int]:
    """Note the parts that are sent; beyond ``most`` sending fails."""
    sent: list[int] = []
    original = Uploads._put_part

    def noted(self: Uploads, blob: object, index: int, file: object) -> object:
        sent.append(index)
        if most is not None and len(sent) > most:
            raise Unavailable("the network is gone")
        return original(self, blob, index, file)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "_put_part", noted)
    return sent


class TestSwept:
    """The sweep, or somebody, removes a blob after the client was told that it is there."""

    @pytest.mark.parametrize("direct", [True, False])
    @pytest.mark.parametrize("large_one", [True, False])
    def test_its_bytes_are_brought_again(
        self,
        site: Site,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        direct: bool,
        large_one: bool,
    ) -> None:
        data = LARGE[: PART_BYTES + 5] if large_one else BIG
        name = reference(data).sha256
        place = folder / name[:2] / name
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        tried: list[bool] = []
        put_early = threading.Event()
        stage_early = CeleryTransport.stage_early
        send = CeleryTransport.send_message

        def stage_and_tell(self: CeleryTransport, blob: BlobFile) -> None:
            stage_early(self, blob)
            put_early.set()

        def remove_and_send(
            self: CeleryTransport, message_id: str, body: bytes, traces: Sequence[str]
        ) -> None:
            if not tried:
                # Whichever comes first, forming the message or putting its bytes early: what is
                # put after the removal would be there again by chance.
                assert put_early.wait(PATIENCE)
                place.unlink()
            tried.append(True)
            send(self, message_id, body, traces)

        monkeypatch.setattr(CeleryTransport, "stage_early", stage_and_tell)
        monkeypatch.setattr(CeleryTransport, "send_message", remove_and_send)
        url = site.environment["ZDK_ARTIFACTS_URL"] if direct else None
        with (
            site.worker(),
            StorageClient(site.broker_url, tmp_path / "o.db", artifacts_url=url) as client,
        ):
            client.sessions.list("app").result(timeout=PATIENCE)
            assert client.artifacts.save(KEY, data).result(timeout=PATIENCE) == 1
            client.artifacts.load(KEY, into=tmp_path / "back").result(timeout=PATIENCE)
        assert (tmp_path / "back").read_bytes() == data
        # Once more where the second reply takes longer than the client waits.
        assert len(tried) >= 2


_DIE = """
import os, signal, sys, threading, time
from pathlib import Path
from api_client import ArtifactKey, StorageClient
from api_client.outbox.journal import FileJournal
from api_client.transport.celery import CeleryTransport

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def commit(self, changes):
    if any(entry.spooled for entry in changes.added):
        die()
    original(self, changes)

if sys.argv[1] == "before-journal":
    original, FileJournal.commit = FileJournal.commit, commit
else:
    CeleryTransport.send_message = die
client = StorageClient.from_env()
client.artifacts.save(ArtifactKey("app", "user", "session", "big"), bytes(range(256)) * 12_000)
time.sleep(60)
"""


class TestKilledClient:
    def die(self, site: Site, outbox: Path, when: str) -> None:
        environment = {**site.environment, "ZDK_OUTBOX": str(outbox)}
        done = subprocess.run(
            [sys.executable, "-c", _DIE, when],
            env=clean_environment(environment),
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == -9

    def test_after_the_file_was_written_and_before_the_journal_knows(
        self, site: Site, folder: Path, tmp_path: Path
    ) -> None:
        outbox = tmp_path / "outbox.db"
        self.die(site, outbox, "before-journal")
        assert len([*Path(f"{outbox}.spool").iterdir()]) == 1
        with site.worker(), StorageClient(site.broker_url, outbox) as client:
            assert [*Path(f"{outbox}.spool").iterdir()] == []
            assert client.pending == 0
            session = SessionKey("app", "user", "session")
            assert list(client.artifacts.list(session).result(timeout=PATIENCE)) == []
        assert [*folder.glob("??/*")] == []

    def test_after_the_blob_store_has_the_file_and_before_the_message_is_sent(
        self, site: Site, folder: Path, tmp_path: Path
    ) -> None:
        outbox = tmp_path / "outbox.db"
        self.die(site, outbox, "before-sending")
        (spooled,) = Path(f"{outbox}.spool").iterdir()
        (blob,) = folder.glob("??/*")
        assert blob.samefile(spooled)
        url = site.environment["ZDK_ARTIFACTS_URL"]
        with site.worker(), StorageClient(site.broker_url, outbox, artifacts_url=url) as client:
            assert client.flush(timeout=PATIENCE) == 0
            assert [v.version for v in client.artifacts.versions(KEY).result()] == [1]
            assert client.artifacts.load(KEY).result(timeout=PATIENCE).data == BIG
        # A confirmation is recorded with what comes next, or at the end; until then they stay.
        assert not spooled.exists()
        assert blob.read_bytes() == BIG


def test_small_files_go_beside_the_message_when_the_folder_is_within_reach(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    url = site.environment["ZDK_ARTIFACTS_URL"]
    data = bytes(range(256)) * 64
    with StorageClient(site.broker_url, tmp_path / "o.db", artifacts_url=url) as client:
        client.artifacts.save(KEY, data).accepted.result(timeout=PATIENCE)
        client.artifacts.save(KEY, data[:100]).accepted.result(timeout=PATIENCE)
        assert len([*Path(f"{tmp_path / 'o.db'}.spool").iterdir()]) == 1
        with site.worker():
            assert client.flush(timeout=PATIENCE) == 0
            assert client.artifacts.load(KEY, version=1).result().data == data
            assert client.artifacts.load(KEY, version=2).result().data == data[:100]
