"""``python -m tests.alerts``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ruamel.yaml import YAML

from tests.alerts.programs import RULES, Absent, check_rules, program
from tests.alerts.prometheus import Prometheus
from tests.alerts.scenes import scenes
from tests.alerts.shortening import shortened
from tests.alerts.stage import Stage
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until
from worker.embedded.child import start_child, stop_child
from worker.embedded.server import LOOPBACK, free_port
from worker.embedded.valkey import EmbeddedValkey

#: Seconds for an alert to fire, and to end.
_SECONDS = 120.0


def main() -> int:
    """Check the rules, then see each alert fire and end. Returns the exit code."""
    try:
        check_rules()
        program("prometheus")
    except Absent as error:
        print(error, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="zdk-alerts-"))
    try:
        with (
            EmbeddedValkey(folder / "valkey") as valkey,
            PostgresServer(folder / "postgres", fsync=False) as postgres,
            _exporter(valkey.url) as exporter,
        ):
            stage = Stage(folder, valkey, postgres)
            try:
                fired = _play(stage, exporter)
            finally:
                stage.close()
    except TimeoutError as error:
        print(f"{error}\nThe logs are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return _report(fired)


def _play(stage: Stage, exporter: list[int]) -> frozenset[str]:
    targets = {
        "zdk-worker": [stage.worker_port],
        "zdk-client": [stage.client_port],
        "zdk-broker": exporter,
    }
    rules = shortened((RULES / "alerts.yml").read_text())
    with Prometheus(stage.folder / "prometheus", rules, targets) as prometheus:
        fired = _see(prometheus, "no worker runs", frozenset({"ZdkNoWorkers"}))
        stage.start_worker()
        _quiet(prometheus)
        for scene in scenes(exporter=bool(exporter)):
            with scene.cause(stage):
                fired |= _see(prometheus, scene.title, scene.alerts)
            _quiet(prometheus)
        return fired


def _see(prometheus: Prometheus, title: str, alerts: frozenset[str]) -> frozenset[str]:
    begun = time.monotonic()
    wait_until(
        lambda: alerts <= prometheus.firing(),
        f"{title}: {', '.join(sorted(alerts))} fire",
        timeout=_SECONDS,
    )
    others = prometheus.firing() - alerts
    also = f" (also: {', '.join(sorted(others))})" if others else ""
    print(f"{title}: {', '.join(sorted(alerts))}, {time.monotonic() - begun:.0f} s{also}")
    return alerts


def _quiet(prometheus: Prometheus) -> None:
    try:
        wait_until(lambda: not prometheus.firing(), "no alert fires any more", timeout=_SECONDS)
    except TimeoutError as error:
        still = ", ".join(sorted(prometheus.firing()))
        raise TimeoutError(f"{error}; still firing: {still}") from None
    print("  mended: no alert fires any more")


def _report(fired: frozenset[str]) -> int:
    rules = YAML(typ="safe").load((RULES / "alerts.yml").read_text())["groups"][0]["rules"]
    silent = {rule["alert"] for rule in rules} - fired
    print(f"{len(fired)} of {len(rules)} alerts were seen to fire and to end")
    if silent == {"ZdkBrokerMemory"}:
        print(
            "ZdkBrokerMemory needs redis_exporter (Debian: prometheus-redis-exporter); "
            "promtool's test of it has passed"
        )
        return 0
    if silent:
        print(f"not seen: {', '.join(sorted(silent))}", file=sys.stderr)
    return 1 if silent else 0


@contextmanager
def _exporter(broker_url: str) -> Iterator[list[int]]:
    """The port of redis_exporter, if there is one."""
    found = shutil.which("prometheus-redis-exporter")
    if found is None:
        yield []
        return
    port = free_port()
    child = start_child(
        [found, f"-redis.addr={broker_url}", f"-web.listen-address={LOOPBACK}:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield [port]
    finally:
        with suppress(ProcessLookupError):
            stop_child(child, grace=5.0)


if __name__ == "__main__":
    sys.exit(main())
