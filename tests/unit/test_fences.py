"""Reads wait for the writes that were issued before them, and for no others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.contract.keys import SessionKey
from api_client.contract.operations import DeleteSession
from api_client.contract.ordering import OrderingKey
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.fences import Fences
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.outbox.spool import Spool
from api_client.receipts import Receipt
from api_client.requests import on
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply

A: OrderingKey = ("session", "app", "user", "a")
B: OrderingKey = ("session", "app", "user", "b")
PATIENCE = 20.0


class Calls:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def fences() -> Fences:
    return Fences()


@pytest.fixture
def passed() -> Calls:
    return Calls()


def test_without_writes_there_is_nothing_to_wait_for(fences: Fences, passed: Calls) -> None:
    fences.wait({}, passed)
    assert passed.count == 1


def test_a_read_waits_for_the_last_write_of_its_key(fences: Fences, passed: Calls) -> None:
    fences.wait({A: 3}, passed)
    fences.passed([(A, 1), (A, 2)])
    assert passed.count == 0
    fences.passed([(A, 3)])
    assert passed.count == 1


def test_a_read_of_several_keys_waits_for_all(fences: Fences, passed: Calls) -> None:
    fences.wait({A: 1, B: 2}, passed)
    fences.passed([(B, 2)])
    assert passed.count == 0
    fences.passed([(A, 1)])
    assert passed.count == 1


def test_other_keys_do_not_matter(fences: Fences, passed: Calls) -> None:
    fences.wait({A: 1}, passed)
    fences.passed([(B, 1), (B, 9)])
    assert passed.count == 0


def test_later_writes_are_not_waited_for(fences: Fences, passed: Calls) -> None:
    fences.wait({A: 1}, passed)
    fences.passed([(A, 1), (A, 2)])
    fences.passed([(A, 3), (B, 4)])
    assert passed.count == 1


def test_reads_of_one_key_pass_one_after_another(fences: Fences) -> None:
    first, second = Calls(), Calls()
    fences.wait({A: 1}, first)
    fences.wait({A: 2}, second)
    fences.passed([(A, 1)])
    assert (first.count, second.count) == (1, 0)
    fences.passed([(A, 2)])
    assert (first.count, second.count) == (1, 1)


def test_one_message_lets_many_reads_pass(fences: Fences) -> None:
    reads = [Calls() for _ in range(3)]
    for read in reads:
        fences.wait({A: 2, B: 2}, read)
    fences.passed([(A, 1), (B, 1), (A, 2), (B, 2)])
    assert [read.count for read in reads] == [1, 1, 1]


def test_a_read_that_was_given_up_is_not_called(fences: Fences) -> None:
    given_up, other = Calls(), Calls()
    fence = fences.wait({A: 1, B: 2}, given_up)
    fences.wait({A: 1}, other)
    assert fence is not None
    fences.passed([(A, 1)])
    fences.drop(fence)
    fences.passed([(B, 2)])
    assert (given_up.count, other.count) == (0, 1)


def test_one_that_has_passed_can_be_given_up_too(fences: Fences, passed: Calls) -> None:
    fence = fences.wait({A: 1}, passed)
    assert fence is not None
    fences.passed([(A, 1)])
    fences.drop(fence)
    assert passed.count == 1


class HeldTransport:
    """A transport that keeps what it is given; the test answers when it likes."""

    durable = True

    def __init__(self) -> None:
        #: Ids of messages and queries, in the order of sending.
        self.sent: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.last_query = ""

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        self.on_write = on_write
        self.on_query = on_query

    def stage_early(self, blob: BlobFile) -> None:
        pass

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        pass

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        self.sent.put(message_id)

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        self.last_query = query_id
        self.sent.put("query")

    def forget(self, request_id: str) -> None:
        pass

    def close(self) -> None:
        pass

    def next(self) -> str:
        return self.sent.get(timeout=PATIENCE)


@pytest.fixture
def transport() -> HeldTransport:
    return HeldTransport()


@pytest.fixture
def outbox(transport: HeldTransport) -> Iterator[Outbox]:
    opened = Outbox(open_homes(None), transport, OutboxOptions())
    yield opened
    opened.close(0)


def write(outbox: Outbox, key: OrderingKey) -> Receipt[object]:
    receipt: Receipt[object] = Receipt(PATIENCE, bytes)
    outbox.submit(b"{}", frozenset({key}), receipt, 0)
    return receipt


def read(outbox: Outbox, key: OrderingKey) -> Receipt[object]:
    receipt: Receipt[object] = Receipt(PATIENCE, bytes)
    outbox.ask(b"{}", on(key), receipt, PATIENCE)
    return receipt


def test_the_outbox_sends_a_query_after_the_writes_before_it(
    outbox: Outbox, transport: HeldTransport
) -> None:
    write(outbox, A)
    message = transport.next()
    read(outbox, A)
    write(outbox, B)
    assert transport.next() != "query"

    transport.on_write(message, WriteReply(outcomes=[Outcome(ok=msgspec.Raw(b"1"))]))
    assert transport.next() == "query"


def test_a_refused_save_does_not_let_a_query_overtake_the_writes_before_it(
    outbox: Outbox, transport: HeldTransport
) -> None:
    # Given a write on its way, a save behind it whose bytes are being read, and a query.
    write(outbox, A)
    message = transport.next()
    asked = threading.Event()

    def unreadable(entry_id: int, spool: Spool) -> tuple[bytes, BlobFile]:
        asked.wait(PATIENCE)
        raise OSError("the file has gone")

    saving: Receipt[object] = Receipt(PATIENCE, bytes)
    outbox.submit_spooled(unreadable, frozenset({A}), saving, 0)
    answer = read(outbox, A)

    # When the save fails,
    asked.set()
    with pytest.raises(Unavailable, match="the file has gone"):
        saving.result()

    # then what is sent next is a write of another key, not the query,
    write(outbox, B)
    assert transport.next() != "query"

    # which still waits for the first write.
    transport.on_write(message, WriteReply(outcomes=[Outcome(ok=msgspec.Raw(b"1"))]))
    assert transport.next() == "query"
    assert not answer.done()


KEY = SessionKey("app", "user", "a")
FIRST, SECOND = "01a20000-0000-7000-8000-000000000001", "01a20000-0000-7000-8000-000000000002"
DELETE = codec.encode_operation(DeleteSession(key=KEY))
DELETED = WriteReply(outcomes=[Outcome(ok=msgspec.Raw(b'{"events":0}'))])


def leave(folder: Path, name: str, packed: str, *, waiting: int) -> None:
    """What a dead client has left: a message on its way, and operations behind it."""
    entries = [Entry(n, frozenset({A}), DELETE) for n in range(1, 2 + waiting)]
    with closing(FileJournal(folder / f"{name}.outbox")) as journal:
        journal.commit(Changes(added=entries, packed=[Dispatch(packed, entries[:1])]))


@pytest.mark.parametrize("order", [[FIRST, SECOND], [SECOND, FIRST]])
@pytest.mark.parametrize("waiting", [0, 1])
def test_a_query_waits_for_all_that_was_adopted_from_several_dead_clients(
    tmp_path: Path, transport: HeldTransport, order: list[str], waiting: int
) -> None:
    # Given two files whose messages touch one session,
    leave(tmp_path, "1", FIRST, waiting=waiting)
    leave(tmp_path, "2", SECOND, waiting=0)
    outbox = Outbox(open_homes(tmp_path), transport, OutboxOptions())
    assert {transport.next(), transport.next()} == {FIRST, SECOND}
    read(outbox, A)

    # when the messages are answered in any order,
    last = order[-1]
    transport.on_write(order[0], DELETED)
    if waiting:
        transport.on_write(order[1], DELETED)
        last = transport.next()
        assert last != "query", "what waited in the first file comes before"
    write(outbox, B)
    assert transport.next() != "query"

    # then the query leaves after the last of them.
    transport.on_write(last, DELETED)
    assert transport.next() == "query"
    outbox.close(0)


def test_queries_still_get_their_answers(outbox: Outbox, transport: HeldTransport) -> None:
    answer = read(outbox, A)
    assert transport.next() == "query"
    transport.on_query(transport.last_query, QueryReply(ok=msgspec.Raw(b"42")))
    assert answer.result() == b"42"
