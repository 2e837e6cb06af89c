"""Sends a worker's spans to an OpenTelemetry collector (``ZDK_TRACING``, extra ``otel``).

Where to, and how, is told by OpenTelemetry's own variables, such as
``OTEL_EXPORTER_OTLP_ENDPOINT`` and ``OTEL_TRACES_SAMPLER``
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

from __future__ import annotations

from importlib.util import find_spec

from api_client.contract.errors import InvalidRequest

_SERVICE = "zdk-worker"


def check_installed() -> None:
    """Refuse to trace without the extra.

    Raises:
        InvalidRequest: it is not installed.
    """
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise InvalidRequest(
            "ZDK_TRACING needs the extra otel: pip install 'zdk-storage[worker,otel]'",
            field="ZDK_TRACING",
        )


def start_export() -> None:
    """Send the spans of this process from now on. Called after the fork, because a thread of this
    process does it. If somebody else has set a tracer provider, that stays."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    # The variables may name the service otherwise.
    named = Resource({"service.name": _SERVICE}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def stop_export() -> None:
    """Send what is left, and end; nothing if nothing was started."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()
