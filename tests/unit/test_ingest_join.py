"""Files beside what is stored: the merge, the listing page by page, the bound on what is under
way."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timezone
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_client import ArtifactKey, SessionKey, StorageClient
from api_client.contract.errors import StorageError, Unavailable
from api_client.contract.records import ArtifactVersion, Page
from api_client.ingest import flight as flights
from api_client.ingest import listing
from api_client.ingest.count import counting
from api_client.ingest.flight import Flight
from api_client.ingest.join import Candidate, join
from api_client.ingest.summary import Failure
from api_client.ingest.tally import Tally
from api_client.ingest.walk import File
from api_client.receipts import Receipt
from tests.support.waiting import wait_until

SESSION = SessionKey("app", "user", "session")
_TEXTS = st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
_LATEST = datetime(2026, 1, 1, tzinfo=timezone.utc)


def named(name: str, size: int = 0) -> tuple[File, ArtifactKey]:
    return File(name.encode(), size, 0.0), ArtifactKey("app", "user", "session", name or "-")


def version(name: str) -> ArtifactVersion:
    return ArtifactVersion(
        name=name,
        version=1,
        mime_type="text/plain",
        size=0,
        sha256="0" * 64,
        metadata={},
        created_at=_LATEST,
    )


@given(_TEXTS, _TEXTS)
def test_join_finds_what_is_stored_under_each_name(files: set[str], stored: set[str]) -> None:
    files, stored = ({text.replace("\0", "") or "-" for text in texts} for texts in (files, stored))
    in_bytes = [sorted(texts, key=str.encode) for texts in (files, stored)]
    joined = [*join(map(named, in_bytes[0]), map(version, in_bytes[1]))]
    assert [one.key.name for one in joined] == in_bytes[0]
    for one in joined:
        assert (one.stored is not None) == (one.key.name in stored)
        assert one.stored is None or one.stored.name == one.key.name


def test_join_reads_no_more_of_the_listing_than_it_needs() -> None:
    read = []

    def stored() -> Iterator[ArtifactVersion]:
        for name in "abcdef":
            read.append(name)
            yield version(name)

    assert [one.stored is not None for one in join(map(named, "bc"), stored())] == [True, True]
    assert read == ["a", "b", "c"]
    read.clear()
    assert [*join([], stored())] == []
    assert read == []


# The listing


def latest(client: StorageClient, prefix: str) -> list[str]:
    found = listing.latest_versions(client, SESSION, prefix, lambda: 30.0, lambda: None)
    return [version.name for version in found]


def test_listing_is_that_of_the_prefix_over_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_PAGE_SIZE", 3)
    names = ["a", "docs", "docs/a", "docs/b", "docs/😀", "docs0", "é", "user:docs/a", "user:x", "z"]
    with StorageClient.local() as client:
        assert latest(client, "") == []
        for name in names:
            client.artifacts.save(ArtifactKey("app", "user", "session", name), b"x")
        client.artifacts.save(ArtifactKey("app", "user", "other", "docs/c"), b"x")
        assert latest(client, "") == sorted(n for n in names if not n.startswith("user:"))
        assert latest(client, "docs/") == ["docs/a", "docs/b", "docs/😀"]
        assert latest(client, "user:") == ["user:docs/a", "user:x"]
        assert latest(client, "user:docs/") == ["user:docs/a"]
        assert latest(client, "docs/b") == ["docs/b"]
        assert latest(client, "zz") == []


@pytest.mark.parametrize("second", ["a", "B"])
def test_listing_in_another_order_ends_the_run(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No store that we have does this.
    page = Receipt[Page[ArtifactVersion]](30.0)
    page.succeed(Page(items=[version("a"), version(second)]))
    with StorageClient.local() as client:
        monkeypatch.setattr(client.artifacts, "list", lambda *_, **__: page)
        with pytest.raises(Unavailable, match="collation"):
            latest(client, "")


# What is under way


class Storage:
    """Counts what is under way, and stores it when it is asked what became of it.

    Attributes:
        begun: files ever.
        most_files, most_bytes: that were under way at a time.
    """

    def __init__(self) -> None:
        self.begun = self.files = self.bytes = self.most_files = self.most_bytes = 0

    def begin(self, candidate: Candidate) -> bool:
        self.begun += 1
        self.files += 1
        self.bytes += candidate.file.size
        self.most_files = max(self.most_files, self.files)
        self.most_bytes = max(self.most_bytes, self.bytes)
        return True

    def settle(self, candidate: Candidate, outcome: object) -> None:
        assert outcome is True
        self.files -= 1
        self.bytes -= candidate.file.size


def fly(storage: Storage, count: int, size: int, inline_bytes: int) -> None:
    with Flight(storage.begin, storage.settle, 30.0, inline_bytes) as flight:
        for number in range(count):
            flight.add(Candidate(*named(f"{number:07d}", size), stored=None))
        flight.drain()
    assert (storage.begun, storage.files) == (count, 0)


@pytest.mark.parametrize("inline_bytes", [2_048, 65_536])
@pytest.mark.parametrize(
    ("count", "size"), [(20_000, 0), (8_000, 60_000), (100, 5_000_000), (3, 10**10)]
)
def test_files_and_bytes_under_way_are_bounded(
    count: int, size: int, inline_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One thread, so that the counts of the storage are right.
    monkeypatch.setattr(flights, "_THREADS", 1)
    storage = Storage()
    fly(storage, count, size, inline_bytes)
    assert storage.most_files <= flights._MOST_FILES
    in_memory = size <= inline_bytes
    most = flights._MOST_IN_MEMORY if in_memory else flights._MOST_BYTES
    assert storage.most_bytes <= max(most, size)


def test_files_that_are_not_held_in_memory_need_no_room_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flights, "_THREADS", 1)
    storage = Storage()
    fly(storage, 8_000, 60_000, inline_bytes=2_048)
    assert storage.most_bytes > flights._MOST_IN_MEMORY


def test_memory_does_not_grow_with_the_number_of_files() -> None:
    def peak(count: int) -> int:
        tally = Tally(None, None, None)
        files = (named(f"{number:07d}") for number in range(count))
        stored = (version(f"{number:07d}") for number in range(0, count, 2))
        tracemalloc.start()
        try:
            with Flight(lambda one: one.stored is None, tally.settled, 30.0, 0) as flight:
                for candidate in join(files, stored):
                    flight.add(candidate)
                flight.drain()
            assert (tally.summary.new, tally.summary.unchanged) == (count // 2, count // 2)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40_000) < peak(5_000) * 2


def test_what_there_is_to_do_is_counted_meanwhile() -> None:
    with counting(File(b"a", size, 0.0) for size in range(10)) as total:
        wait_until(lambda: total.complete, "the count")
    assert (total.files, total.bytes) == (10, 45)


def test_counting_ends_with_the_run() -> None:
    ended = Event()

    def endless() -> Iterator[File]:
        try:
            while True:
                yield File(b"a", 1, 0.0)
        finally:
            ended.set()

    with counting(endless()) as total:
        pass
    assert ended.wait(60)
    assert not total.complete


def test_failures_are_counted_and_the_first_kept() -> None:
    told: list[Failure] = []
    tally = Tally(None, told.append, None)
    for number in range(1_500):
        tally.failed(b"\xff%d" % number, PermissionError(13, "Permission denied"))
    tally.failed(b"", Unavailable("gone"))
    assert (tally.summary.failed, tally.summary.failures) == (1_501, told[:1_000])
    assert told[0] == Failure("\\xff0", "os_error", "Permission denied")
    assert told[1_500] == Failure(".", "unavailable", "gone")


def test_storage_that_does_not_answer_ends_the_run_in_time() -> None:
    answer = Event()
    settled: list[object] = []

    def begin(_: Candidate) -> bool:
        answer.wait(60)
        return True

    with Flight(begin, lambda *all: settled.append(all), 0.05, 0) as flight:
        flight.add(Candidate(*named("a"), stored=None))
        try:
            with pytest.raises(Unavailable, match="zdk doctor"):
                flight.drain()
        finally:
            answer.set()
    assert settled == []


def test_error_that_is_no_files_own_ends_the_run() -> None:
    def begin(_: Candidate) -> bool | StorageError:
        raise Unavailable("the client is closed")

    with Flight(begin, lambda *_: None, 30.0, 0) as flight:
        flight.add(Candidate(*named("a"), stored=None))
        with pytest.raises(Unavailable, match="closed"):
            flight.drain()


def test_nothing_begins_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "_THREADS", 1)
    monkeypatch.setattr(flights, "_STOP_SECONDS", 0.0)
    begun, go_on, ended = Event(), Event(), Event()
    names: list[str] = []

    def begin(candidate: Candidate) -> bool:
        names.append(candidate.key.name)
        begun.set()
        return go_on.wait(60)

    flight = Flight(begin, lambda *_: None, 30.0, 0)
    for name in "abc":
        flight.add(Candidate(*named(name, flights._BATCH_BYTES), stored=None))
    assert begun.wait(60)
    flight._workers.submit(ended.set)
    flight.close()
    flight.close()
    go_on.set()
    assert ended.wait(60)
    assert names == ["a"]
