"""What a process of a worker counts for Prometheus."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from prometheus_client.metrics import MetricWrapperBase

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import ErrorRecord, NotFound
from api_client.contract.operations import BlobReference
from api_client.contract.records import new_id
from worker.artifacts.blobs.memory import MemoryBlobStore
from worker.dead_letters import Failure
from worker.ledger import Entry
from worker.metrics.blobs import CountedBlobs
from worker.metrics.work import Counts
from worker.work import Work

DATA = b"the bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()
ERROR = ErrorRecord(NotFound.code, "it is not there")


def counted(counts: Counts) -> dict[str, float]:
    """All that is not zero, by name and labels."""
    metrics = [found for found in vars(counts).values() if isinstance(found, MetricWrapperBase)]
    return {
        " ".join([sample.name.removeprefix("zdk_"), *filter(None, sample.labels.values())]): value
        for metric in metrics
        for family in metric.collect()
        for sample in family.samples
        if (value := sample.value) and not sample.name.endswith(("_created", "_bucket"))
    }


def work(operations: int) -> Work:
    return Work(Message(id=new_id(), operations=[msgspec.Raw(b"{}")] * operations))


def request(**headers: Any) -> Any:
    return SimpleNamespace(delivery_info=None, get=headers.get)


def test_a_transaction() -> None:
    counts = Counts()
    first, second, again = works = [work(3), work(1), work(5)]
    entries = {one.message.id: Entry("", [], known=one is again) for one in works}
    counts.committed(works, entries, [Failure(first.message.id, 0, b"{}", ERROR)], 0.25)
    assert counted(counts) == {
        "messages_total applied": 2,
        "messages_total duplicate": 1,
        "operations_total applied": 3,
        "operations_total failed not_found": 1,
        "operations_total duplicate": 5,
        "dead_letters_written_total not_found": 1,
        "message_operations_count": 2,
        "message_operations_sum": 4,
        "transaction_messages_count": 1,
        "transaction_messages_sum": 3,
        "commit_seconds_count": 1,
        "commit_seconds_sum": 0.25,
    }
    assert second.message.id in entries


def test_messages_that_were_not_applied() -> None:
    counts = Counts()
    counts.committed([], {}, [], 0.25)
    counts.known([])
    counts.missing(2)
    counts.gave_up(4)
    counts.refused()
    assert counted(counts) == {
        "messages_total missing": 2,
        "messages_total given_up": 1,
        "messages_total refused": 1,
        "operations_total failed unavailable": 4,
        "dead_letters_written_total unavailable": 4,
        "dead_letters_written_total invalid_request": 1,
    }


def test_tasks_and_queries() -> None:
    counts = Counts()
    counts.applied(0.5)
    counts.tries_again()
    counts.answered(None)
    counts.answered(ERROR)
    counts.ended("storage.write", "SUCCESS", 2.0)
    assert counted(counts) == {
        "apply_seconds_count": 1,
        "apply_seconds_sum": 0.5,
        "retries_total": 1,
        "queries_total answered": 1,
        "queries_total failed not_found": 1,
        "tasks_total storage.write SUCCESS": 1,
        "task_seconds_count storage.write": 1,
        "task_seconds_sum storage.write": 2,
    }


def test_deliveries() -> None:
    counts = Counts()
    counts.delivered(request())
    counts.delivered(request(**{codec.TRY_HEADER: 1}))
    assert counted(counts) == {}
    counts.delivered(request(**{codec.TRY_HEADER: 2}))
    counts.delivered(request(redelivered=True))
    by_broker = request(**{codec.TRY_HEADER: 3})
    by_broker.delivery_info = {"redelivered": True}
    counts.delivered(by_broker)
    assert counted(counts) == {
        "deliveries_again_total resent": 1,
        "deliveries_again_total redelivered": 2,
    }


def test_bytes_into_and_out_of_the_blob_store(tmp_path: Path) -> None:
    counts = Counts()
    blobs = CountedBlobs(MemoryBlobStore(), counts)
    path = tmp_path / "bytes"
    path.write_bytes(DATA)
    ways: dict[str, Callable[[], object]] = {
        "offered": lambda: blobs.offer(SHA256, len(DATA), path),
        "put": lambda: blobs.put(SHA256, len(DATA), [DATA]),
        "in a part": lambda: blobs.uploads.put(BlobReference(SHA256, len(DATA)), 0, [DATA]),
    }
    written = 0
    for way, write in ways.items():
        write()
        written += len(DATA)
        assert counted(counts) == {"blob_bytes_total written": written}, way
    with blobs.batch() as batch:
        batch.put(SHA256, len(DATA), [DATA])
    written += len(DATA)
    # It has it already.
    assert not blobs.offer(SHA256, len(DATA), path)
    assert blobs.read(SHA256, 4, 1000) == b"bytes"
    assert counted(counts) == {"blob_bytes_total written": written, "blob_bytes_total read": 5}
