"""The spans of a worker, and where they are sent."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util._once import Once

from api_client.contract.codec import MAX_TRACES, Message
from api_client.contract.errors import ErrorRecord
from api_client.contract.outcomes import Outcome, WriteReply
from api_client.contract.records import new_id
from tests.support.spans import Collector, collector, traced
from worker.tracing.export import start_export, stop_export
from worker.tracing.spans import processing, step

MARK = "mArk5ecret"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
FAILED = Outcome(error=ErrorRecord("not_found", MARK))
REFUSED = WriteReply(error=ErrorRecord("invalid_request", MARK))


def message(*operations: bytes) -> Message:
    return Message(id=new_id(), operations=[msgspec.Raw(one) for one in operations])


def applied(messages: list[Message], replies: list[WriteReply], traces: list[str]) -> ReadableSpan:
    """The span of these messages."""
    with traced() as exporter:
        with processing(messages, traces) as span:
            span.finish(messages, replies)
        (found,) = exporter.get_finished_spans()
    return found


def test_messages_that_were_applied_together() -> None:
    messages = [message(b"{}", b"{ }"), message(b"{  }")]
    replies = [WriteReply(outcomes=[FAILED, FAILED]), WriteReply(outcomes=[FAILED])]
    other = TRACE.replace("a", "c")
    span = applied(messages, replies, [TRACE, other, TRACE])
    attributes = dict(span.attributes or {})
    assert attributes["messaging.batch.message_count"] == 2
    assert attributes["messaging.message.body.size"] == 9
    assert (attributes["zdk.operations"], attributes["zdk.failed"]) == (3, 3)
    assert "messaging.message.id" not in attributes
    assert span.parent is None
    assert [format(link.context.trace_id, "032x")[0] for link in span.links] == ["a", "c"]
    assert [dict(event.attributes or {})["messaging.message.id"] for event in span.events] == [
        *[messages[0].id] * 2,
        messages[1].id,
    ]


def test_not_too_much_is_told() -> None:
    many = [TRACE.replace("a" * 32, f"{number:032x}") for number in range(1, 300)]
    wide = message(*[b"{}"] * 100)
    span = applied([wide], [WriteReply(outcomes=[FAILED] * 100)], many)
    assert len(span.links) == MAX_TRACES
    assert len(span.events) == 32
    assert (span.attributes or {})["zdk.failed"] == 100


def test_a_message_that_is_refused_is_an_error() -> None:
    span = applied([message(b"{}")], [REFUSED], [TRACE])
    assert (span.status.status_code, span.status.description) == (
        *(StatusCode.ERROR, "invalid_request"),
    )


def test_what_breaks_off_tells_its_kind_and_not_its_text() -> None:
    with traced() as exporter:
        with (
            pytest.raises(ValueError, match=MARK),
            processing([message(b"{}")], [TRACE]),
            step("apply", "sqlite"),
        ):
            raise ValueError(MARK)
        spans = exporter.get_finished_spans()
    assert [span.kind for span in spans] == [SpanKind.CLIENT, SpanKind.CONSUMER]
    for span in spans:
        assert (span.status.status_code, span.status.description) == (
            StatusCode.ERROR,
            "ValueError",
        )
        assert span.events == ()
        assert MARK not in span.to_json()


def test_a_step_of_somebody_else_makes_no_span() -> None:
    with traced() as exporter:
        with processing([message(b"{}")], []), step("apply", "sqlite"):
            pass
        assert exporter.get_finished_spans() == ()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, and no tracer provider yet."""
    with collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        # Longer than the test takes: what comes has been sent at the end.
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        yield found
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):
            provider.shutdown()


@pytest.mark.parametrize("name", [None, "storage-eu"])
def test_the_end_sends_what_is_left_in_the_services_name(
    exported: Collector, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    if name is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    start_export()
    with processing([message(b"{}")], [TRACE]):
        pass
    stop_export()
    assert [span.name for span in exported.spans()] == ["apply storage.write"]
    assert exported.services() == {name or "zdk-worker"}
