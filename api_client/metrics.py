"""A client's outbox for Prometheus. Needs the extra ``metrics``.

::

    from prometheus_client import REGISTRY
    from api_client.metrics import OutboxCollector

    REGISTRY.register(OutboxCollector(client))

Importing this without prometheus-client raises an ImportError that says how to install it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "metrics of a client need prometheus-client: pip install 'zdk-storage[metrics]'"
    ) from error

from api_client.client import StorageClient


class OutboxCollector(Collector):
    """Collects how full a client's outbox is, whenever it is asked. Costs nothing in between.

    Parameters:
        client: the client. Of several in one process, give each a registry or names of its own.
    """

    def __init__(self, client: StorageClient):
        self._client = client

    def describe(self) -> Iterator[Metric]:
        """What it may collect, so that a registry need not ask the client."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told. The same numbers as of ``zdk outbox status``."""
        usage, tally = self._client.usage, self._client.tally
        age = 0.0
        if usage.oldest is not None:
            age = max(0.0, (datetime.now(timezone.utc) - usage.oldest).total_seconds())
        for name, meaning, value in (
            ("operations", "Operations without an outcome.", usage.operations),
            ("bytes", "Their bytes.", usage.bytes),
            ("max_operations", "Operations beyond which no more are taken.", usage.max_operations),
            ("max_bytes", "Bytes beyond which no more are taken.", usage.max_bytes),
            ("oldest_seconds", "Age of the oldest message without an outcome; 0 if none.", age),
        ):
            yield GaugeMetricFamily(f"zdk_outbox_{name}", meaning, value=value)
        decided = CounterMetricFamily(
            "zdk_outbox_outcomes", "Operations that have their outcome.", labels=["outcome"]
        )
        decided.add_metric(["applied"], tally.applied)
        decided.add_metric(["failed"], tally.failed)
        yield decided
