"""What a line of the log tells of a message."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api_client.contract.codec import Message
from api_client.contract.errors import ErrorRecord
from api_client.contract.outcomes import Outcome, QueryReply, WriteReply
from worker.logs.lines import tell_answered, tell_applied
from worker.origin import Origin

APPLIED = Outcome(ok=msgspec.Raw(b"{}"))
FAILED = Outcome(error=ErrorRecord("not_found", "it is not there"))
REFUSED = WriteReply(error=ErrorRecord("invalid_request", "it is none"))


def message(age: float, operations: int = 1) -> Message:
    """One that was packed so many seconds ago."""
    made = round((time.time() - age) * 1000)
    id_ = str(UUID(int=made << 80 | 0x7 << 76 | 0x2 << 62))
    return Message(id=id_, operations=[msgspec.Raw(b"{ }")] * operations)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was told, as fields."""
    return [{"event": record.getMessage(), **vars(record)} for record in caplog.records]


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker.logs.lines")


def test_two_messages_that_were_applied_together(caplog: pytest.LogCaptureFixture) -> None:
    durations = {"apply": 0.25, "commit": 0.125, "total": 40.0}
    messages = [message(100.0, operations=3), message(0.0)]
    replies = [
        WriteReply(outcomes=[APPLIED, FAILED, FAILED]),
        WriteReply(missing=["0" * 64, "1" * 64]),
    ]
    tell_applied(messages, [Origin("c-1", tries=2), Origin("c-2")], replies, durations)
    first, second = lines(caplog)
    assert (first["event"], second["event"]) == ("message applied", "message waits for bytes")
    expected = {
        "message_id": messages[0].id,
        "client": "c-1",
        "tries": 2,
        "operations": 3,
        "bytes": 9,
        "applied": 1,
        "failed": 2,
        "codes": {"not_found": 2},
        "together": 2,
        "apply_ms": 250.0,
        "commit_ms": 125.0,
        "total_ms": 40_000.0,
    }
    assert expected.items() <= first.items()
    # Without the time that its application took.
    assert 59_000 <= first["wait_ms"] < 90_000
    assert second["wait_ms"] == 0
    assert (second["client"], second["tries"], second["missing"]) == ("c-2", 1, 2)


def test_one_that_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    own = Message(id="6f1d0c0e-5a1b-4c55-9d1e-7a646b2d6c74", operations=[])
    tell_applied([own], [Origin()], [REFUSED], {})
    (line,) = lines(caplog)
    assert (line["event"], line["code"]) == ("message refused", "invalid_request")
    # Its id tells no time.
    assert line["wait_ms"] is None
    assert "applied" not in line


def test_queries_are_told_of_for_debugging_only(caplog: pytest.LogCaptureFixture) -> None:
    reply = QueryReply(error=ErrorRecord("not_found", "it is not there"))
    tell_answered(Origin("c"), "session.load", reply, {"total": 0.5})
    assert lines(caplog) == []
    caplog.set_level(logging.DEBUG, "worker.logs.lines")
    tell_answered(Origin("c"), "session.load", reply, {"total": 0.5})
    (line,) = lines(caplog)
    assert (line["operation"], line["code"], line["total_ms"]) == (
        *("session.load", "not_found"),
        500.0,
    )
