"""The lines that this project has set itself, and whether a run has met them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from benchmarks.measurements import Measurement, Results

_64_MIB = 64.0 * 2**20
_MEMORY = {"memory while saving": "saving", "memory while loading": "loading"}


@dataclass(frozen=True)
class Line:
    """One line: a ratio between two medians of the same run, or a bound on one.

    Attributes:
        benchmark: which measures both.
        what: for people.
        ours: metric and contestant.
        peer: likewise; None if ``bound`` is in the metric's own unit.
        bound: what the ratio, or our value, must reach.
        at_least: whether it must be at least the bound; else at most.
    """

    benchmark: str
    what: str
    ours: tuple[str, str]
    peer: tuple[str, str] | None
    bound: float
    at_least: bool = False


LINES = (
    Line(
        "throughput",
        "events applied, beside ADK's appends",
        ("applied events", "zdk"),
        ("applied events", "adk"),
        40.0,
        at_least=True,
    ),
    Line(
        "throughput",
        "events applied, beside LangGraph's aput",
        ("applied events", "zdk"),
        ("applied events", "langgraph"),
        6.0,
        at_least=True,
    ),
    Line(
        "throughput",
        "events applied, beside COPY + ON CONFLICT",
        ("applied events", "zdk"),
        ("applied events", "copy"),
        0.2,
        at_least=True,
    ),
    Line("latency", "accepted, beside ADK's append", ("accepted", "zdk"), ("append", "adk"), 0.3),
    Line("latency", "applied, beside a Celery echo", ("applied", "zdk"), ("echo", "celery"), 2.5),
    Line("load", "load of 2,000 events, beside ADK", ("load", "zdk"), ("load", "adk"), 0.15),
    Line(
        "load",
        "load of 2,000 events, beside openai-agents",
        ("load", "zdk"),
        ("load", "openai-agents"),
        3.0,
    ),
    Line(
        "load",
        "load of the last 20, beside ADK",
        ("load last 20", "zdk"),
        ("load last 20", "adk"),
        1.0,
    ),
    Line(
        "adapters",
        "load of 2,000 events through the ADK adapter, beside ADK's own",
        ("adapter load", "zdk"),
        ("adapter load", "adk"),
        0.5,
    ),
    Line(
        "adapters",
        "accepted through the ADK adapter, beside ADK's append",
        ("adapter append", "zdk, accepted"),
        ("adapter append", "adk"),
        0.4,
    ),
    Line(
        "growth",
        "append at 20,000 events, beside at 0",
        ("append by length", "zdk at 20000"),
        ("append by length", "zdk at 0"),
        1.2,
    ),
    Line(
        "listing",
        "page of 50 of 100,000 sessions, beside ADK's 5,000",
        ("list sessions", "zdk"),
        ("list sessions", "adk"),
        0.1,
    ),
    Line(
        "small_clients",
        "single operations of 8 processes, beside plain Celery",
        ("single operations", "zdk"),
        ("single operations", "celery"),
        2.0,
        at_least=True,
    ),
    Line(
        "ingest",
        "save of 2,000 files of 64 KB, beside ADK without fsync",
        ("ingest", "zdk"),
        ("ingest", "adk"),
        2.0,
        at_least=True,
    ),
    Line(
        "ingest",
        "zdk ingest of the same, beside ADK without fsync",
        ("ingest", "zdk ingest"),
        ("ingest", "adk"),
        2.0,
        at_least=True,
    ),
    Line(
        "large_files",
        "files of 4 MB, beside write + fsync",
        ("large files", "zdk"),
        ("large files", "fsync"),
        0.8,
        at_least=True,
    ),
    *(
        Line(
            "memory",
            f"{who}'s memory while {doing} 1 GiB, {route}",
            (metric, f"{who}, {route}"),
            None,
            _64_MIB,
        )
        for metric, doing in _MEMORY.items()
        for who in ("client", "worker")
        for route in ("direct", "Redis")
    ),
    Line("client_import", "client import", ("import time", "zdk"), None, 0.4),
    Line("client_import", "client import, memory", ("import memory", "zdk"), None, 30e6),
)


class Verdict(Enum):
    """What became of a line."""

    MET = "met"
    MISSED = "missed"
    #: One of the two could not be measured.
    ABSENT = "absent"


@dataclass(frozen=True)
class Judgement:
    """A line with what was measured.

    Attributes:
        line: the line.
        ours, peer: what was measured, as far as it was.
        value: the ratio, or our own value if there is no peer; None if one of them is absent.
        verdict: what became of the line.
    """

    line: Line
    ours: Measurement | None
    peer: Measurement | None
    value: float | None
    verdict: Verdict


def judge(
    results: Results, benchmarks: Sequence[str], lines: Sequence[Line] = LINES
) -> list[Judgement]:
    """Judge the lines of the benchmarks that were run.

    Parameters:
        results: of the run.
        benchmarks: their names.
        lines: which to choose from.
    """
    return [_judge_one(results, line) for line in lines if line.benchmark in benchmarks]


def _judge_one(results: Results, line: Line) -> Judgement:
    ours = results.get(*line.ours)
    peer = None if line.peer is None else results.get(*line.peer)
    if ours is None or (line.peer is not None and peer is None):
        return Judgement(line, ours, peer, None, Verdict.ABSENT)
    value = ours.value if peer is None else ours.value / peer.value
    met = value >= line.bound if line.at_least else value <= line.bound
    return Judgement(line, ours, peer, value, Verdict.MET if met else Verdict.MISSED)
