"""A Prometheus of our own."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from tests.alerts.programs import program
from tests.support.waiting import wait_until
from worker.embedded.child import start_child, stop_child
from worker.embedded.server import LOOPBACK, free_port

_SECONDS = 10.0


class Prometheus:
    """Scrapes fixed targets each second.

    Parameters:
        folder: for its data.
        rules: the text of its rules.
        targets: by job, the ports to be scraped.
    """

    def __init__(self, folder: Path, rules: str, targets: Mapping[str, Sequence[int]]):
        self._folder = folder
        self._rules = rules
        self._targets = targets
        self._url = f"http://{LOOPBACK}:{free_port()}"
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        (self._folder / "alerts.yml").write_text(self._rules)
        jobs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"{LOOPBACK}:{port}" for port in ports]}],
            }
            for job, ports in self._targets.items()
        ]
        config = {
            # A scrape waits for a broker or a database that does not answer.
            "global": {
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "evaluation_interval": "1s",
            },
            "rule_files": ["alerts.yml"],
            "scrape_configs": jobs,
        }
        with open(self._folder / "prometheus.yml", "w") as file:
            YAML().dump(config, file)
        with open(self._folder / "log", "wb") as log:
            self._child = start_child(
                [
                    program("prometheus"),
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._is_ready, "Prometheus answers")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._child is not None:
            stop_child(self._child, grace=_SECONDS)

    def firing(self) -> frozenset[str]:
        """The names of the alerts that fire now."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return frozenset(a["labels"]["alertname"] for a in alerts if a["state"] == "firing")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now."""
        found = self._get("/api/v1/query", query=expression)["result"]
        return list(found)

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """What it was from one time to another, in seconds since 1970."""
        found = self._get("/api/v1/query_range", query=expression, start=start, end=end, step=step)
        return list(found["result"])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=_SECONDS) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: object) -> Any:
        url = f"{self._url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_SECONDS) as reply:
            return json.load(reply)["data"]
