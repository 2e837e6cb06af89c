"""Lines of the benchmarks: which are met, which are missed, how they are shown."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.catalogue import BENCHMARKS
from benchmarks.lines import LINES, Line, Verdict, judge
from benchmarks.measurements import UNITS, Results
from benchmarks.report import Report
from benchmarks.table import lines_markdown, required

_FASTER = Line(
    "throughput",
    "faster",
    ("applied events", "zdk"),
    ("applied events", "adk"),
    40.0,
    at_least=True,
)
_SOONER = Line("latency", "sooner", ("accepted", "zdk"), ("append", "adk"), 0.3)
_SMALL = Line("client_import", "small", ("import memory", "zdk"), None, 30e6)


def _results(ours: float, theirs: float) -> Results:
    results = Results()
    results.add("zdk", {"applied events": [ours], "accepted": [ours], "import memory": [ours]})
    results.add("adk", {"applied events": [theirs], "append": [theirs]})
    return results


@pytest.mark.parametrize(
    ("line", "ours", "theirs", "verdict"),
    [
        (_FASTER, 400.0, 10.0, Verdict.MET),
        (_FASTER, 399.0, 10.0, Verdict.MISSED),
        (_SOONER, 0.3, 1.0, Verdict.MET),
        (_SOONER, 0.31, 1.0, Verdict.MISSED),
        (_SMALL, 30e6, 1.0, Verdict.MET),
        (_SMALL, 30.1e6, 1.0, Verdict.MISSED),
    ],
)
def test_a_line_is_met_at_its_bound(
    line: Line, ours: float, theirs: float, verdict: Verdict
) -> None:
    (judged,) = judge(_results(ours, theirs), [line.benchmark], [line])
    assert judged.verdict is verdict


def test_a_ratio_is_between_medians() -> None:
    results = _results(100.0, 10.0)
    results.add("zdk", {"applied events": [300.0]})
    results.add("zdk", {"applied events": [900.0]})
    (judged,) = judge(results, ["throughput"], [_FASTER])
    assert judged.value == 30.0


@pytest.mark.parametrize("gone", ["zdk", "adk"])
def test_a_line_without_one_of_the_two_is_not_met(gone: str) -> None:
    results = _results(400.0, 10.0)
    del results.metrics["applied events"][gone]
    (judged,) = judge(results, ["throughput"], [_FASTER])
    assert judged.verdict is Verdict.ABSENT


def test_lines_of_benchmarks_that_did_not_run_are_left_out() -> None:
    assert judge(_results(1.0, 1.0), ["latency"], [_FASTER]) == []


def test_every_line_names_a_benchmark_and_metrics() -> None:
    for line in LINES:
        assert line.benchmark in BENCHMARKS
        assert line.ours[0] in UNITS
        assert line.peer is None or UNITS[line.peer[0]] == UNITS[line.ours[0]]
    assert len({line.what for line in LINES}) == len(LINES)


def test_every_benchmark_but_one_has_a_line() -> None:
    # Only a plot shows what more pool processes give.
    assert set(BENCHMARKS) - {line.benchmark for line in LINES} == {"workers"}


def test_what_is_required_is_said_with_a_unit() -> None:
    assert required(_FASTER) == "≥ 40x"
    assert required(_SOONER) == "≤ 0.3x"
    assert required(_SMALL) == "≤ 28.6 MiB"


def _report(results: Results) -> Report:
    return Report(
        at="2026-11-23T00:00:00+00:00",
        seconds=1.5,
        machine={"processor": "a processor", "cores": "2"},
        options={"rounds": 3, "quick": False},
        benchmarks=["client_import"],
        results=results,
    )


def test_a_report_names_the_lines_that_are_missed() -> None:
    results = Results()
    results.add("zdk", {"import time": [0.5], "import memory": [20e6]})
    assert _report(results).missed == ["client import"]


def test_a_report_survives_json() -> None:
    results = Results()
    results.add("zdk", {"import time": [0.5], "import memory": [20e6]})
    written = json.loads(json.dumps(_report(results).as_json()))
    assert [(line["what"], line["verdict"]) for line in written["lines"]] == [
        ("client import", "missed"),
        ("client import, memory", "met"),
    ]
    assert Report.from_json(written).as_json() == written


def test_a_report_in_markdown_ends_with_the_machine() -> None:
    text = _report(Results()).as_markdown()
    assert text.startswith("|line|")
    assert text.endswith("\n\n" + text.splitlines()[-1] + "\n")
    for part in ("a processor", "rounds 3", "2026-11-23"):
        assert part in text.splitlines()[-1]


def test_a_report_shows_lines_samples_and_who_is_missing() -> None:
    results = Results()
    results.add("zdk", {"import time": [0.5, 0.4, 0.6], "import memory": [20e6]})
    results.missing["zdk ingest"] = "no such command"
    text = StringIO()
    _report(results).show(Console(file=text, width=150))
    shown = text.getvalue()
    for part in ("a processor", "500 ms", "≤ 400 ms", "missed", "no such command"):
        assert part in shown


def test_the_table_in_markdown_has_a_row_for_each_line() -> None:
    results = _results(400.0, 10.0)
    judged = judge(results, ["throughput", "client_import"], [_FASTER, _SMALL])
    head, rule, *rows = lines_markdown(judged).splitlines()
    assert head == "|line|ours|peer|ratio|required|verdict|"
    assert rule.count("|") == head.count("|")
    assert rows == [
        "|faster|400 /s (+0..+0%)|10 /s (+0..+0%)|40x|≥ 40x|met|",
        "|small|0.391 KiB (+0..+0%)|||≤ 28.6 MiB|met|",
    ]
