"""A full disk and lost files: new operations are refused, accepted ones go on, and it is said."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.keys import ArtifactKey
from api_client.contract.operations import SaveArtifact
from api_client.contract.ordering import artifact_ordering
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.transport.base import BlobFile
from tests.support.driven import DrivenLoop, FakeWorker, delete, ordering, write

SAVED = ArtifactKey("app", "user", "saved", "report.pdf")


@pytest.fixture
def outbox(path: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    with opened(path, worker, loop) as outbox:
        yield outbox


@contextmanager
def opened(path: Path, worker: FakeWorker, loop: DrivenLoop) -> Iterator[Outbox]:
    outbox = Outbox(open_homes(path), worker, OutboxOptions(), loop)
    loop.settle()
    yield outbox
    outbox.close(0)


def fill_disk(outbox: Outbox, *, full: bool) -> None:
    """Let SQLite find no room for another page, or find room again."""
    journal = outbox._home.journal
    assert isinstance(journal, FileJournal)
    journal._connection.execute(f"PRAGMA max_page_count = {1 if full else 1 << 30}")


def large(outbox: Outbox, session: str) -> Receipt[bytes]:
    """An operation that does not fit into a page that is there already."""
    receipt: Receipt[bytes] = Receipt(0.0, bytes)
    body = delete(session) + b" " * 20_000
    outbox.submit(body, frozenset({ordering(session)}), receipt, 0)
    return receipt


class TestFullDisk:
    def test_a_new_operation_is_refused_and_one_accepted_before_goes_on(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        before = write(outbox, "before")
        loop.settle()
        fill_disk(outbox, full=True)
        refused = large(outbox, "refused")
        loop.settle()
        with pytest.raises(Unavailable, match=r"outbox\.db cannot be written.*full") as caught:
            refused.accepted.result(0)
        assert caught.value.field == "outbox"
        assert refused.exception(0) is caught.value
        assert outbox.pending == 1

        worker.up = True
        loop.wait(60)
        assert worker.sessions == ["before"]
        assert before.result(0) == b"1"

    def test_with_room_again_new_ones_are_taken(
        self, outbox: Outbox, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        fill_disk(outbox, full=True)
        large(outbox, "refused")
        loop.settle()
        fill_disk(outbox, full=False)
        taken = large(outbox, "taken")
        worker.up = True
        loop.wait(60)
        assert taken.result(0) == b"1"
        assert worker.sessions == ["taken"]

    def test_nothing_of_what_was_refused_is_found_after_a_restart(
        self, path: Path, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        with opened(path, worker, loop) as outbox:
            fill_disk(outbox, full=True)
            write(outbox, "small")
            large(outbox, "large")
            loop.settle()
        with opened(path, worker, DrivenLoop()) as outbox:
            assert outbox.pending == 0

    def test_it_is_said_once_when_it_begins_and_once_when_it_is_over(
        self,
        outbox: Outbox,
        worker: FakeWorker,
        loop: DrivenLoop,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        fill_disk(outbox, full=True)
        for _ in range(5):
            large(outbox, "refused")
            loop.wait(10)
        fill_disk(outbox, full=False)
        for _ in range(5):
            large(outbox, "taken")
            loop.wait(10)
        said = [r.levelno for r in caplog.records if "api_client.outbox.recorder" in r.name]
        assert said == [logging.ERROR, logging.WARNING]

    def test_on_a_real_one_all_that_was_accepted_is_applied(
        self, tmp_path: Path, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        disk = tmp_path / "disk"
        with mounted(disk), opened(disk / "outbox.db", worker, loop) as outbox:
            receipts = []
            for number in range(80):
                receipts.append(large(outbox, str(number)))
                loop.wait(2)
            accepted = [r.accepted.exception(0) is None for r in receipts]
            assert not all(accepted)
            assert any(accepted)
            (disk / "ballast").unlink()
            worker.up = True
            loop.wait(60)
            assert worker.sessions == [str(n) for n, good in enumerate(accepted) if good]
            assert outbox.pending == 0


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small disk with little room."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        (folder / "ballast").write_bytes(bytes(1 << 20))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class TestLostBytes:
    """The bytes of a save have gone from beside the outbox before it was packed."""

    @staticmethod
    def save(outbox: Outbox) -> Receipt[bytes]:
        def prepare(row: int, spool: Spool) -> tuple[bytes, BlobFile]:
            blob = spool.write(row, [b"bytes"])
            save = SaveArtifact(key=SAVED, mime_type="text/plain", blob=blob.reference)
            return codec.encode_operation(save), blob

        receipt: Receipt[bytes] = Receipt(0.0, bytes)
        outbox.submit_spooled(prepare, frozenset({artifact_ordering(SAVED)}), receipt, 0)
        return receipt

    @staticmethod
    def lose(path: Path) -> None:
        for file in Path(f"{path}.spool").iterdir():
            file.unlink()

    def test_the_save_fails_and_its_session_goes_on(
        self,
        path: Path,
        outbox: Outbox,
        worker: FakeWorker,
        loop: DrivenLoop,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        write(outbox, "saved")
        loop.settle()
        receipt = self.save(outbox)
        behind = write(outbox, "saved")
        loop.settle()
        assert receipt.accepted.done()
        self.lose(path)
        worker.up = True
        loop.wait(60)
        with pytest.raises(Unavailable, match="no longer in"):
            receipt.result(0)
        assert behind.result(0) == b"1"
        assert worker.sessions == ["saved", "saved"]
        assert outbox.pending == 0
        assert f"{path}.spool" in caplog.text

    def test_it_does_not_come_back_after_a_restart(
        self, path: Path, worker: FakeWorker, loop: DrivenLoop
    ) -> None:
        with opened(path, worker, loop) as outbox:
            write(outbox, "saved")
            loop.settle()
            self.save(outbox)
            loop.settle()
        self.lose(path)
        worker.up = True
        loop = DrivenLoop()
        with opened(path, worker, loop) as outbox:
            loop.wait(60)
            assert outbox.pending == 0
        with opened(path, worker, DrivenLoop()) as outbox:
            assert outbox.pending == 0
        assert worker.sessions == ["saved"]
