"""A span for each operation that an application gives away, by OpenTelemetry, if that is set up.

This module imports nothing of OpenTelemetry by itself. Who wants traces has imported it, and set a
tracer provider, before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from api_client.contract import codec
from api_client.contract.errors import StorageError
from api_client.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_NAME = "zdk-storage.client"
_NOT_TRACED: AbstractContextManager[str | None] = nullcontext(None)


def producing(operation: str) -> AbstractContextManager[str | None]:
    """A span around the submission of an operation. It ends when the outbox has taken it.

    Gives the operation's trace as a ``traceparent`` text (W3C Trace Context), which goes with it
    to the worker; None if nothing is traced, or this trace is not sampled.

    Parameters:
        operation: what it is, such as ``session.append``.
    """
    # Looked up and not imported: the import takes longer than the client's own.
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return _NOT_TRACED
    provider = api.get_tracer_provider()
    if isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider)):
        return _NOT_TRACED
    return _producing(provider.get_tracer(_NAME, __version__), operation)


@contextmanager
def _producing(tracer: Tracer, operation: str) -> Iterator[str | None]:
    from opentelemetry.trace import SpanKind, StatusCode

    # https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
    attributes = {
        "messaging.system": "celery",
        "messaging.destination.name": codec.WRITE_QUEUE,
        "messaging.operation.name": operation,
        "messaging.operation.type": "create",
    }
    with tracer.start_as_current_span(
        f"{operation} {codec.WRITE_QUEUE}",
        kind=SpanKind.PRODUCER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        context = span.get_span_context()
        sampled = context.is_valid and context.trace_flags.sampled
        try:
            yield f"00-{context.trace_id:032x}-{context.span_id:016x}-01" if sampled else None
        except Exception as error:
            code = error.code if isinstance(error, StorageError) else type(error).__name__
            span.set_attribute("error.type", code)
            span.set_status(StatusCode.ERROR, code)
            raise
