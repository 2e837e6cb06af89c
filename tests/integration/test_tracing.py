"""One trace from the agent's call through outbox, queue and worker to the commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from api_client import ArtifactKey, Event, NotFound, SessionKey, StorageClient
from tests.integration.conftest import Site, open_site
from tests.support.locks import held_sessions
from tests.support.postgres import PostgresServer
from tests.support.programs import clean_environment, run_python
from tests.support.spans import Collector, attributes, collector, traced, traceparent
from tests.support.waiting import wait_until

# All tests use the same worker.
pytestmark = pytest.mark.xdist_group("tracing")

MARK = "mArk5ecret"
KEY = SessionKey("app", "user", "traced")


@dataclass
class Traced:
    """A worker that sends its spans to a collector."""

    site: Site
    collector: Collector

    def open(self, outbox: Path | None = None) -> StorageClient:
        return StorageClient(self.site.broker_url, outbox)

    def applied(self, *traces: str) -> list[Any]:
        """The worker's spans that are linked with all these together, once they have come."""

        def found() -> list[Any]:
            spans = [span for span in self.collector.spans() if links(span) & {*traces}]
            told = set().union(*map(links, spans))
            return spans if told >= {*traces} else []

        return wait_until(found, "the worker's spans have come")

    def children(self, span: Any) -> list[Any]:
        return [one for one in self.collector.spans() if one.parent_span_id == span.span_id]


@pytest.fixture(scope="module")
def tracing(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("tracing")
    with (
        open_site(folder, postgres.create_database("tracing")) as site,
        collector() as found,
        site.worker(
            ZDK_TRACING="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=found.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ),
        StorageClient(site.broker_url) as client,
    ):
        # Who traces nothing makes no span.
        client.sessions.create(KEY).result(timeout=60)
        yield Traced(site, found)
        assert "zdk-worker" in found.services()
        assert all(span.links for span in found.spans() if span.kind == _CONSUMER)


#: OTLP counts kinds from another number than the API.
_CONSUMER = SpanKind.CONSUMER.value + 1
_ERROR = 2


def links(span: Any) -> set[str]:
    """The contexts that a worker's span is linked with."""
    return {f"00-{one.trace_id.hex()}-{one.span_id.hex()}-01" for one in span.links}


def produced(spans: tuple[ReadableSpan, ...]) -> list[ReadableSpan]:
    return [span for span in spans if span.kind is SpanKind.PRODUCER]


def test_one_trace_from_end_to_end(tracing: Traced) -> None:
    with traced() as exporter, tracing.open() as client:
        with trace.get_tracer("agent").start_as_current_span("turn"):
            receipt = client.sessions.append(KEY, Event(author=MARK, content=MARK))
        receipt.result(timeout=60)
    producer, turn = exporter.get_finished_spans()
    assert producer.parent == turn.get_span_context()
    assert producer.kind is SpanKind.PRODUCER
    assert producer.name == "session.append storage.write"
    assert dict(producer.attributes or {}) == {
        "messaging.system": "celery",
        "messaging.destination.name": "storage.write",
        "messaging.operation.name": "session.append",
        "messaging.operation.type": "create",
    }

    (span,) = tracing.applied(traceparent(producer))
    context = producer.get_span_context()
    assert context is not None
    assert int.from_bytes(span.trace_id, "big") == context.trace_id
    assert int.from_bytes(span.parent_span_id, "big") == context.span_id
    assert (span.name, span.kind) == ("apply storage.write", _CONSUMER)
    found = attributes(span)
    assert found["messaging.message.id"] == receipt.message_id
    assert found["messaging.operation.type"] == "process"
    assert (found["zdk.operations"], found["zdk.failed"]) == (1, 0)
    assert "messaging.batch.message_count" not in found
    steps = wait_until(lambda: tracing.children(span), "its steps have come")
    assert [one.name for one in steps] == ["apply", "commit"]
    assert {attributes(one)["db.system.name"] for one in steps} == {"postgresql"}


def test_a_batch_of_several_traces(tracing: Traced) -> None:
    with traced() as exporter, tracing.open() as client:
        with held_sessions(tracing.site.environment["ZDK_DATABASE_URL"]):
            # What comes while the first waits for the lock gathers behind it.
            for number in range(10):
                client.sessions.append(KEY, Event(author="a", content=number))
        assert client.flush(timeout=60) == 0
    traces = [traceparent(span) for span in exporter.get_finished_spans()]
    assert len({one.split("-")[1] for one in traces}) == 10
    found = [span for span in tracing.applied(*traces) if len(span.links) > 1]
    assert found
    for span in found:
        assert not span.parent_span_id
        assert attributes(span)["zdk.operations"] == len(span.links)


def test_a_failure_tells_its_code_and_not_what_was_written(tracing: Traced) -> None:
    nobody = SessionKey("app", "user", "nobody")
    with traced() as exporter, tracing.open() as client:
        receipt = client.sessions.append(nobody, Event(author=MARK, content=MARK))
        with pytest.raises(NotFound):
            receipt.result(timeout=60)
    (producer,) = produced(exporter.get_finished_spans())
    (span,) = tracing.applied(traceparent(producer))
    assert (span.status.code, span.status.message) == (_ERROR, "not_found")
    assert attributes(span)["error.type"] == "not_found"
    (event,) = span.events
    assert attributes(event) == {
        "messaging.message.id": receipt.message_id,
        "zdk.position": 0,
        "error.type": "not_found",
    }
    assert MARK not in "".join(map(str, tracing.collector.requests))


def of_parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01"


_PROGRAM = """
import os, signal, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from api_client import ArtifactKey, Event, SessionKey, StorageClient

trace.set_tracer_provider(TracerProvider())
# Nobody listens there.
client = StorageClient("redis://127.0.0.1:1/0", sys.argv[1])
with trace.get_tracer("agent").start_as_current_span("turn") as span:
    key = SessionKey("app", "user", "traced")
    client.sessions.append(key, Event(author="a", content=1)).accepted.result(30)
    big = ArtifactKey("app", "user", "traced", "big")
    client.artifacts.save(big, b"x" * 200_000).accepted.result(30)
    print(format(span.get_span_context().trace_id, "032x"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_trace_outlives_a_client_that_is_killed(tracing: Traced, tmp_path: Path) -> None:
    folder = tmp_path / "outbox"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder)],
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    # Who adopts the file traces nothing by itself.
    with tracing.open(folder) as client:
        assert client.flush(timeout=60) == 0
    name = done.stdout.strip()

    def operations() -> int:
        found = [span for span in tracing.collector.spans() if span.trace_id.hex() == name]
        return sum(len(span.links) for span in found if span.kind == _CONSUMER)

    wait_until(lambda: operations() == 2, "both operations are in the trace of the killed client")


def test_without_a_broker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'zdk.db'}"
    with traced() as exporter, StorageClient.local(url) as client:
        client.sessions.create(KEY).result(timeout=30)
        client.artifacts.save(ArtifactKey("app", "user", "traced", "n"), "x").result(timeout=30)
    spans = exporter.get_finished_spans()
    first, second = produced(spans)
    assert [first.name, second.name] == [
        "session.create storage.write",
        "artifact.save storage.write",
    ]
    applied = [span for span in spans if span.kind is SpanKind.CONSUMER]
    assert [of_parent(span) for span in applied] == [traceparent(first), traceparent(second)]
    assert sorted(span.name for span in spans if span.kind is SpanKind.CLIENT) == [
        *["apply"] * 2,
        *["commit"] * 2,
    ]


def test_who_does_not_trace_needs_none_of_it(tmp_path: Path) -> None:
    program = (
        "import sys; from api_client import SessionKey, StorageClient\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
        # Not to be imported from here on; redis would, for metrics of its own.
        "sys.modules['opentelemetry'] = None\n"
        "with StorageClient.local() as client:\n"
        "    client.sessions.create(SessionKey('a', 'u', 's')).result(30)\n"
    )
    done = run_python(["-c", program], environment={}, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
