"""``python -m tests.dashboard``."""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.alerts.programs import RULES, Absent, program
from tests.alerts.prometheus import Prometheus
from tests.alerts.stage import Stage
from tests.dashboard.drawing import Line, day, draw
from tests.dashboard.load import run_load
from tests.dashboard.panels import Panel, Target, panels
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until
from worker.embedded.valkey import EmbeddedValkey

_PICTURE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "dashboard.png"
#: Operations in the client's outbox: some are refused while nothing is applied.
_ROOM = 2000
_CAPTION = (
    "The queries of deploy/grafana/dashboards/zdk-storage.json, answered by a real Prometheus and "
    "drawn with matplotlib, not by Grafana ({day}).\nOne worker of two processes, one client with "
    "a small outbox, PostgreSQL; the ledger is locked for 8 s in the middle. x: seconds"
)


def main() -> int:
    """Run the load, ask for each panel, draw. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.dashboard", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of load")
    parser.add_argument("--picture", type=Path, default=_PICTURE, help="a PNG file")
    options = parser.parse_args()
    try:
        program("prometheus")
    except Absent as error:
        print(error, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="zdk-dashboard-"))
    with (
        EmbeddedValkey(folder / "valkey") as valkey,
        PostgresServer(folder / "postgres", fsync=False) as postgres,
    ):
        stage = Stage(folder, valkey, postgres, _ROOM)
        try:
            drawn = _observe(stage, options.seconds)
        finally:
            stage.close()
    shutil.rmtree(folder, ignore_errors=True)
    empty = [panel.title for panel, lines in drawn if not lines]
    for title in empty:
        print(f"no data: {title}", file=sys.stderr)
    if not empty:
        draw(drawn, _CAPTION.format(day=day()), options.picture)
        print(f"{len(drawn)} panels have data; drawn in {options.picture}")
    return 1 if empty else 0


def _observe(stage: Stage, seconds: float) -> list[tuple[Panel, list[Line]]]:
    targets = {"zdk-worker": [stage.worker_port], "zdk-client": [stage.client_port]}
    rules = (RULES / "alerts.yml").read_text()
    with Prometheus(stage.folder / "prometheus", rules, targets) as prometheus:
        stage.start_worker()
        wait_until(lambda: prometheus.query("zdk_live and zdk_ready"), "the first scrape")
        begun = time.time()
        run_load(stage, seconds)
        ended = time.time()
        return [
            (
                panel,
                [
                    line
                    for target in panel.targets
                    for line in _lines(prometheus, target, begun, ended)
                ],
            )
            for panel in panels("10s")
        ]


def _lines(prometheus: Prometheus, target: Target, begun: float, ended: float) -> list[Line]:
    found = []
    for series in prometheus.query_range(target.expression, begun, ended, 1.0):
        points = [(float(at), float(value)) for at, value in series["values"]]
        if any(math.isfinite(value) for _, value in points):
            found.append(Line(_named(target.legend, series["metric"]), points))
    return found


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend) or "-"


if __name__ == "__main__":
    sys.exit(main())
