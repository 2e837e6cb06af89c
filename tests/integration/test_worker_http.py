"""A worker's HTTP endpoint, and what is written about its metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from ruamel.yaml import YAML

from api_client import ArtifactKey, SessionKey, StorageClient
from api_client.contract.errors import AlreadyExists
from api_client.metrics import OutboxCollector
from tests.integration.conftest import Site, open_site
from tests.support.endpoint_worker import start_endpoint_worker
from tests.support.programs import clean_environment, run_zdk
from tests.support.waiting import wait_until
from worker.embedded.child import stop_child
from worker.embedded.server import free_port
from worker.http import step
from worker.settings import Settings

_ROOT = Path(__file__).resolve().parents[2]
_RULES = _ROOT / "deploy" / "prometheus" / "alerts.yml"
_DASHBOARD = _ROOT / "deploy" / "grafana" / "dashboards" / "zdk-storage.json"
_NAME = re.compile(r"\bzdk_[a-z_]+")
_SERIES = re.compile(r"_(bucket|sum|count)$")
#: Those of the doctor, but for the round trip.
_CHECKS = ["broker", "results", "database", "schema", "blob store"]


class Endpoint:
    """A worker with one pool process, and its HTTP endpoint."""

    def __init__(self, site: Site):
        self.site = site
        self.port = free_port()
        log = site.folder / "worker.log"
        environment = {**site.environment, "ZDK_STALLED_AFTER": "2.5", "PYTHONPATH": str(_ROOT)}
        self.child = start_endpoint_worker(
            site.folder, log, self.port, environment=clean_environment(environment), concurrency=1
        )

    def ask(self, path: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def metrics(self) -> dict[str, Metric]:
        """What Prometheus would read, by name without the ending of a counter."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as reply:
            text = reply.read().decode()
        return {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, sample: str, **labels: str) -> float:
        """The value of one series."""
        for family in self.metrics().values():
            for found in family.samples:
                if found.name == sample and found.labels == labels:
                    return float(found.value)
        raise AssertionError(f"there is no {sample} {labels}")

    @property
    def pool_process(self) -> int:
        """The only one."""
        return max(self._children())

    @property
    def answering_process(self) -> int:
        """The one that answers, which is forked first."""
        return min(self._children())

    def _children(self) -> list[int]:
        return [int(child.pid) for child in psutil.Process(self.child.pid).children()]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One for all tests here; the one that ends it comes last."""
    folder = tmp_path_factory.mktemp("http")
    with open_site(folder, f"sqlite:///{folder / 'zdk.db'}") as site:
        made = Endpoint(site)
        with StorageClient(site.broker_url) as client:
            key = SessionKey("app", "user", "s")
            client.sessions.create(key).result(30)
            with pytest.raises(AlreadyExists):
                client.sessions.create(key).result(30)
            report = ArtifactKey("app", "user", "s", "report.txt")
            client.artifacts.save(report, b"x" * 3000, mime_type="text/plain").result(30)
            client.artifacts.load(report).result(30)
        try:
            yield made
        finally:
            stop_child(made.child, grace=20.0)


def test_a_worker_is_live_and_ready(endpoint: Endpoint) -> None:
    assert endpoint.ask("/live") == (200, {"ok": True, "detail": ""})
    status, ready = endpoint.ask("/ready")
    assert (status, ready["ok"], ready["detail"]) == (200, True, "")
    assert [check["name"] for check in ready["checks"]] == _CHECKS


def test_the_commands_ask_the_worker(endpoint: Endpoint) -> None:
    environment = {"ZDK_HTTP_PORT": str(endpoint.port)}
    ready = run_zdk("health", "ready", "--json", environment=environment, cwd=endpoint.site.folder)
    assert (ready.returncode, json.loads(ready.stdout)["ok"]) == (0, True), ready.stderr


def test_the_commands_say_that_nothing_answers(tmp_path: Path) -> None:
    port = str(free_port())
    live = run_zdk("health", "live", "--port", port, environment={}, cwd=tmp_path)
    assert live.returncode == 1
    assert live.stdout.startswith(f"nothing answers at 127.0.0.1 port {port}")


def test_operations_messages_and_bytes_are_counted(endpoint: Endpoint) -> None:
    value = endpoint.value
    assert value("zdk_operations_total", outcome="applied", code="") >= 2
    assert value("zdk_operations_total", outcome="failed", code="already_exists") == 1
    assert value("zdk_dead_letters_written_total", code="already_exists") == 1
    assert value("zdk_messages_total", outcome="applied") >= 3
    assert value("zdk_queries_total", outcome="answered", code="") >= 1
    assert value("zdk_blob_bytes_total", way="written") == 3000
    assert value("zdk_blob_bytes_total", way="read") == 3000
    # The loop tells of its pool once a second.
    wait_until(lambda: value("zdk_pool_processes") == 1, "the loop has told of its pool")


def test_a_copy_is_a_duplicate_and_a_replaced_process_goes_on_counting(
    endpoint: Endpoint,
) -> None:
    before = endpoint.value("zdk_messages_total", outcome="applied")
    with Redis.from_url(endpoint.site.broker_url) as redis:
        killed = endpoint.pool_process
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: endpoint.pool_process != killed, "a new pool process")
        body = json.dumps([[_message()], {}, {}])
        for number in range(2):
            redis.lpush("storage.write", _item(body, f"copy-{number}"))
        wait_until(
            lambda: endpoint.value("zdk_messages_total", outcome="duplicate") == 1, "a duplicate"
        )
    assert endpoint.value("zdk_messages_total", outcome="applied") == before + 1


def test_every_metric_is_documented_and_every_documented_one_is_there(endpoint: Endpoint) -> None:
    text = (_ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\|`(zdk_[a-z_]+)`\|(\w+)\|", text, re.MULTILINE)
    documented = {(name.removesuffix("_total"), kind) for name, kind in rows}
    assert documented == _exported(endpoint)


def test_the_rules_name_what_is_exported(endpoint: Endpoint) -> None:
    rules = YAML(typ="safe").load(_RULES.read_text())["groups"][0]["rules"]
    names = {name for rule in rules for name in _NAME.findall(rule["expr"])}
    assert len(names) > 8
    assert {_family(name) for name in names} <= {name for name, _ in _exported(endpoint)}
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert re.fullmatch(r"docs/operations\.md#[a-z-]+", rule["annotations"]["runbook_url"])


def test_the_dashboard_names_what_is_exported(endpoint: Endpoint) -> None:
    dashboard = json.loads(_DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = YAML(typ="safe").load(
        (_ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    names = {_family(name) for expression in expressions for name in _NAME.findall(expression)}
    assert names <= {name for name, _ in _exported(endpoint)}


def test_a_port_that_is_taken_is_one_clear_line(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDK_HTTP_PORT", str(endpoint.port))
    with pytest.raises(SystemExit, match="2"):
        step.listen_by(Settings())
    taken = f"zdk: ZDK_HTTP_HOST, ZDK_HTTP_PORT: 127.0.0.1 port {endpoint.port} cannot be had"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(taken)


def test_a_stopped_worker_is_not_live(endpoint: Endpoint) -> None:
    os.kill(endpoint.child.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: endpoint.ask("/live")[0] == 503, "it is not live")
        assert endpoint.ask("/live")[1]["detail"].startswith("the worker's loop has not turned")
        assert endpoint.ask("/ready")[0] == 503
    finally:
        os.kill(endpoint.child.pid, signal.SIGCONT)
    wait_until(lambda: endpoint.ask("/live")[0] == 200, "it is live again")


def test_while_it_ends_it_is_live_and_not_ready(endpoint: Endpoint) -> None:
    with closing(sqlite3.connect(endpoint.site.folder / "zdk.db")) as other:
        # The task waits for its lock, and the worker for the task.
        other.execute("BEGIN IMMEDIATE")
        with Redis.from_url(endpoint.site.broker_url) as redis:
            redis.lpush("storage.write", _item(json.dumps([[_message()], {}, {}]), "held"))
        wait_until(lambda: endpoint.value("zdk_pool_busy") == 1, "the pool is busy")
        # A terminal, and some supervisors, tell all processes of a group.
        os.kill(endpoint.answering_process, signal.SIGTERM)
        endpoint.child.send_signal(signal.SIGTERM)
        wait_until(lambda: endpoint.ask("/ready")[1]["detail"] == "the worker is ending", "ending")
        assert endpoint.ask("/live")[0] == 200
        assert endpoint.value("zdk_ending") == 1
    assert endpoint.child.wait(30) == 0
    with pytest.raises(OSError, match="refused"):
        endpoint.ask("/live")


def _exported(endpoint: Endpoint) -> set[tuple[str, str]]:
    """Name and type of all metrics of the worker and of a client."""
    registry = CollectorRegistry()
    with StorageClient.local() as client:
        registry.register(OutboxCollector(client))
        families = [*registry.collect(), *endpoint.metrics().values()]
    return {(family.name, family.type) for family in families if family.name.startswith("zdk_")}


def _family(name: str) -> str:
    return _SERIES.sub("", name.removesuffix("_total"))


def _message() -> dict[str, Any]:
    key = {"app": "app", "user": "user", "session": "copied"}
    operation = {"op": "session.create", "key": key}
    id_ = "019b0000-0000-7000-8000-000000000001"
    return {"version": 1, "id": id_, "operations": [operation]}


def _item(body: str, task_id: str) -> str:
    return json.dumps(
        {
            "body": body,
            "content-type": "application/json",
            "headers": {"task": "storage.write", "id": task_id},
            "properties": {
                "delivery_tag": task_id,
                "delivery_info": {"exchange": "", "routing_key": "storage.write"},
            },
        }
    )
