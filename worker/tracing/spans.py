"""Spans of a worker, by OpenTelemetry: one for the messages applied together, with its steps.

A span is made only for messages whose publisher traces them, and only if this process has
OpenTelemetry and a tracer provider; otherwise none of it costs more than a look. What is written
into a span are ids, counts and codes, never payloads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.outcomes import WriteReply
from api_client.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer

_NAME = "zdk-storage.worker"
#: Failed operations that a span names; how many there are in all it tells as well.
_MOST_FAILURES = 32


class Processing:
    """The span of messages that are being applied.

    Parameters:
        span: None if it is not traced.
    """

    def __init__(self, span: Span | None = None):
        self._span = span

    def finish(self, messages: Sequence[Message], replies: Sequence[WriteReply]) -> None:
        """Note what has become of the messages."""
        if self._span is None or not self._span.is_recording():
            return
        failures = [
            (message.id, position, found.error.code)
            for message, reply in zip(messages, replies, strict=True)
            for position, found in enumerate(reply.outcomes)
            if found.error is not None
        ]
        refused = [reply.error.code for reply in replies if reply.error is not None]
        for message_id, position, code in failures[:_MOST_FAILURES]:
            self._span.add_event(
                "operation failed",
                {"messaging.message.id": message_id, "zdk.position": position, "error.type": code},
            )
        self._span.set_attribute("zdk.failed", len(failures))
        if failures or refused:
            _set_failed(self._span, (refused or [failures[0][2]])[0])


_NOT_TRACED = nullcontext(Processing())


def processing(
    messages: Sequence[Message], traces: Sequence[str]
) -> AbstractContextManager[Processing]:
    """A span around the application of messages.

    Parameters:
        messages: those that are applied together.
        traces: the traces that their operations belong to, as ``traceparent`` texts. If there is
            one, the span is a part of it. Of several, it is a trace of its own with a link to each.
    """
    tracer = _tracer() if traces else None
    if tracer is None:
        return _NOT_TRACED
    return _processing(tracer, messages, traces)


@contextmanager
def step(name: str, database: str) -> Iterator[None]:
    """A span around a step, if the application that it belongs to has one.

    Parameters:
        database: which kind it runs in.
    """
    tracer = _tracer() if _is_in_ours() else None
    if tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    attributes = {"db.system.name": database, "db.operation.name": name}
    with _failing_by_code(tracer, name, SpanKind.CLIENT, attributes=attributes):
        yield


@contextmanager
def _processing(
    tracer: Tracer, messages: Sequence[Message], traces: Sequence[str]
) -> Iterator[Processing]:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context

    contexts = [_context(text) for text in dict.fromkeys(traces)][: codec.MAX_TRACES]
    whole = len({context.trace_id for context in contexts}) == 1
    parent = set_span_in_context(NonRecordingSpan(contexts[0]), Context()) if whole else Context()
    attributes: dict[str, Any] = {
        "messaging.system": "celery",
        "messaging.destination.name": codec.WRITE_QUEUE,
        "messaging.operation.name": "apply",
        "messaging.operation.type": "process",
        "messaging.message.body.size": sum(len(bytes(o)) for m in messages for o in m.operations),
        "zdk.operations": sum(len(message.operations) for message in messages),
    }
    if len(messages) == 1:
        attributes["messaging.message.id"] = messages[0].id
    else:
        attributes["messaging.batch.message_count"] = len(messages)
    with _failing_by_code(
        tracer,
        f"apply {codec.WRITE_QUEUE}",
        SpanKind.CONSUMER,
        context=parent,
        links=[Link(context) for context in contexts],
        attributes=attributes,
    ) as span:
        yield Processing(span)


@contextmanager
def _failing_by_code(
    tracer: Tracer, name: str, kind: Any, *, attributes: Any, **options: Any
) -> Iterator[Span]:
    """A span that tells the type of an error that ends it, and not its text."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
        **options,
    ) as span:
        try:
            yield span
        except Exception as error:
            _set_failed(span, type(getattr(error, "orig", None) or error).__name__)
            raise


def _set_failed(span: Span, code: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR, code)


def _context(traceparent: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    _, trace, span, flags = traceparent.split("-")
    return SpanContext(
        int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _is_in_ours() -> bool:
    """Whether the current span is one that this process has made."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return False
    return bool(api.get_current_span().is_recording())


def _tracer() -> Tracer | None:
    """A tracer if somebody has set up a provider in this process. Who has not imported
    OpenTelemetry has not."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider)):
        return None
    tracer: Tracer = provider.get_tracer(_NAME, __version__)
    return tracer
