"""The command line of the benchmarks, with the one that needs no peers."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.catalogue import BENCHMARKS
from benchmarks.cli import app
from tests.support.programs import run_python

_ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_prints_and_writes_what_it_measured(tmp_path: Path) -> None:
    written = tmp_path / "run.json"
    options = ["--quick", "--only", "client_import", "--json", str(written)]
    done = run_python(["-m", "benchmarks", *options], environment={}, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    assert "client import" in done.stdout
    report = json.loads(written.read_text())
    assert report["options"]["quick"] is True
    assert [line["what"] for line in report["lines"]] == ["client import", "client import, memory"]
    (samples,) = report["metrics"]["import time"]["contestants"]["zdk"]
    assert 0 < samples[0] < 60


def test_a_run_is_judged_again_from_its_file(tmp_path: Path) -> None:
    written = tmp_path / "run.json"
    report = {
        "at": "2026-11-23T00:00:00+00:00",
        "seconds": 1.0,
        "machine": {},
        "options": {"quick": False},
        "benchmarks": ["client_import"],
        "metrics": {"import time": {"contestants": {"zdk": [[9.0]]}}},
        "missing": {},
    }
    written.write_text(json.dumps(report))
    done = CliRunner().invoke(app, ["--from", str(written)])
    assert done.exit_code == 1
    assert "missed: client import; client import, memory" in done.stderr


def test_the_list_names_all_benchmarks() -> None:
    done = CliRunner().invoke(app, ["--list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [*BENCHMARKS]


def test_an_unknown_benchmark_is_refused() -> None:
    done = CliRunner().invoke(app, ["--only", "elegance"])
    assert done.exit_code == 2
    assert "elegance" in done.stderr
