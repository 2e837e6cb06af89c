"""The panels of the dashboard, as far as they are asked for and drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_FILE = (
    Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards" / "zdk-storage.json"
)
#: Grafana puts a time here that covers several scrapes.
_RATE_INTERVAL = "$__rate_interval"


@dataclass(frozen=True)
class Target:
    """Attributes: an expression, and the form of the names of its lines."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """Attributes: as in the file."""

    title: str
    unit: str
    targets: list[Target]


def panels(rate_interval: str) -> list[Panel]:
    """All of them, in their order.

    Parameters:
        rate_interval: what rates are taken over, as Prometheus writes it.
    """
    return [
        Panel(
            panel["title"],
            panel["fieldConfig"]["defaults"]["unit"],
            [
                Target(
                    target["expr"].replace(_RATE_INTERVAL, rate_interval), target["legendFormat"]
                )
                for target in panel["targets"]
            ],
        )
        for panel in json.loads(_FILE.read_text())["panels"]
    ]
