"""Traces on their way: in the outbox, on its disk, in headers."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from api_client.contract import codec
from api_client.contract.codec import MAX_TRACES, MAX_TRACES_LENGTH, own_headers
from api_client.contract.errors import InvalidRequest, OutboxFull
from api_client.contract.keys import SessionKey
from api_client.contract.operations import DeleteSession
from api_client.outbox.changes import Changes
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.homes import open_homes
from api_client.outbox.journal import FileJournal
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox
from api_client.requests import Requests
from tests.support.driven import NOON, DrivenLoop, FakeWorker, message_id
from tests.support.spans import traced, traceparent
from worker.origin import origin, traces_of
from worker.tracing import export

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER = f"00-{'c' * 32}-{'d' * 16}-01"
DELETE = DeleteSession(key=SessionKey("app", "user", "s"))


def entry(row: int, trace: str | None) -> Entry:
    return Entry(row, frozenset(), b"{}", trace=trace)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


def traces_in(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row for (row,) in connection.execute("SELECT id FROM traces")]


class TestOnDisk:
    def test_a_file_without_traces_has_no_table_for_them(self, tmp_path: Path) -> None:
        journal = FileJournal(tmp_path / "outbox.db")
        journal.commit(Changes(added=[entry(1, None)]))
        journal.close()
        assert tables(tmp_path / "outbox.db") == {"operations", "messages"}

    def test_each_comes_back_with_its_operation_and_goes_with_it(self, tmp_path: Path) -> None:
        path = tmp_path / "outbox.db"
        journal = FileJournal(path)
        entries = [entry(1, TRACE), entry(2, None), entry(3, OTHER), entry(4, TRACE)]
        dispatch = Dispatch(message_id(NOON, 1), entries[:3])
        journal.commit(Changes(added=entries, packed=[dispatch]))
        journal.close()

        journal = FileJournal(path)
        assert [(one.id, one.trace) for one in journal.packed()] == [
            (1, TRACE),
            (2, None),
            (3, OTHER),
        ]
        assert [(one.id, one.trace) for one in journal.waiting(0, 9, 999)] == [(4, TRACE)]
        journal.commit(Changes(confirmed=[dispatch]))
        journal.close()
        assert traces_in(path) == [4]

    def test_of_another_operation_in_the_same_row_it_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "outbox.db"
        journal = FileJournal(path)
        journal.commit(Changes(added=[entry(1, TRACE)]))
        journal.close()
        with closing(sqlite3.connect(path)) as connection, connection:
            # As by a release that knows nothing of traces.
            connection.execute(
                "UPDATE operations SET body = ?, crc = ?", (b"[]", zlib.crc32(b"[]", 1))
            )
        journal = FileJournal(path)
        assert [one.trace for one in journal.waiting(0, 9, 999)] == [None]
        journal.close()


class TestOnTheirWay:
    def test_sending_again_makes_no_other_span_and_tells_the_same_trace(self) -> None:
        loop, worker = DrivenLoop(), FakeWorker(up=False)
        outbox = Outbox(open_homes(None), worker, OutboxOptions(), loop)
        requests = Requests(lambda: outbox, wait_timeout=1.0, read_timeout=1.0, block=0.0)
        with traced() as exporter:
            requests.write(DELETE, bytes)
            loop.wait(10.0)
            worker.up, worker.answering = True, False
            for _ in range(5):
                loop.wait(100.0)
        (span,) = exporter.get_finished_spans()
        assert len(worker.messages) > 1
        assert worker.traces == [[traceparent(span)]] * len(worker.messages)
        outbox.close(0.0)

    def test_what_is_refused_is_an_error_by_its_code(self) -> None:
        outbox = Outbox(open_homes(None), FakeWorker(), OutboxOptions(0, 0), DrivenLoop())
        requests = Requests(lambda: outbox, wait_timeout=1.0, read_timeout=1.0, block=0.0)
        with traced() as exporter, pytest.raises(OutboxFull):
            requests.write(DELETE, bytes)
        (span,) = exporter.get_finished_spans()
        assert (span.attributes or {})["error.type"] == OutboxFull.code
        # Its text may tell what was written.
        assert (span.status.description, span.events) == (OutboxFull.code, ())
        outbox.close(0.0)

    def test_what_is_not_sampled_is_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        loop, worker = DrivenLoop(), FakeWorker()
        outbox = Outbox(open_homes(None), worker, OutboxOptions(), loop)
        requests = Requests(lambda: outbox, wait_timeout=1.0, read_timeout=1.0, block=0.0)
        with traced():
            requests.write(DELETE, bytes)
            loop.settle()
        assert worker.traces == [[]]
        outbox.close(0.0)

    def test_a_message_tells_each_trace_once_and_not_too_many(self) -> None:
        many = [f"00-{number:032x}-{'b' * 16}-01" for number in range(1, 200)]
        dispatch = Dispatch(message_id(NOON, 1), [entry(1, t) for t in [TRACE, TRACE, *many]])
        assert dispatch.traces == [TRACE, *many][:MAX_TRACES]
        header = own_headers(1, dispatch.traces)[codec.TRACES_HEADER]
        assert len(header) < MAX_TRACES_LENGTH
        assert len(origin("task", {codec.TRACES_HEADER: header}).traces) == MAX_TRACES

    def test_without_traces_there_is_no_header(self) -> None:
        assert own_headers(2, []) == {codec.TRY_HEADER: 2, codec.NOTICE_HEADER: True}


class TestInHeaders:
    @pytest.mark.parametrize(
        "header",
        [
            TRACE[:-1],
            TRACE.upper(),
            f"00-{'0' * 32}-{'b' * 16}-01",
            f"{TRACE},",
            f"{TRACE}, {OTHER}",
            7,
            [TRACE],
            ",".join([TRACE] * (MAX_TRACES + 1)),
        ],
    )
    def test_what_is_none_is_left_out(self, header: object) -> None:
        assert traces_of({codec.TRACES_HEADER: header}) == ""

    def test_those_of_other_publishers(self) -> None:
        assert traces_of({"traceparent": TRACE}) == TRACE
        both = {"traceparent": TRACE, codec.TRACES_HEADER: f"{OTHER},{TRACE}"}
        assert traces_of(both) == f"{OTHER},{TRACE}"


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"pip install 'zdk-storage\[worker,otel\]'"):
        export.check_installed()
