"""A run as a document: where, how, what was measured, what became of the lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from benchmarks.lines import Judgement, Verdict, judge
from benchmarks.measurements import Results
from benchmarks.table import contestants_table, lines_markdown, lines_table


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes:
        at: when it ended, in UTC, as ISO 8601.
        seconds: how long it took.
        machine: see `benchmarks.machine`.
        options: rounds, processes and the like.
        benchmarks: those that were run.
        results: what was measured.
    """

    at: str
    seconds: float
    machine: dict[str, str]
    options: dict[str, Any]
    benchmarks: Sequence[str]
    results: Results

    @property
    def judgements(self) -> list[Judgement]:
        """What became of the lines."""
        return judge(self.results, self.benchmarks)

    @property
    def missed(self) -> list[str]:
        """The lines that were not met, or could not be measured."""
        return [x.line.what for x in self.judgements if x.verdict is not Verdict.MET]

    def as_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return {
            "at": self.at,
            "seconds": self.seconds,
            "machine": self.machine,
            "options": self.options,
            "benchmarks": [*self.benchmarks],
            "lines": [_line_as_json(judged) for judged in self.judgements],
            **self.results.as_json(),
        }

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Report:
        """What `as_json` has returned, read again; the lines are judged anew.

        Raises:
            KeyError: it is something else.
        """
        return cls(
            at=written["at"],
            seconds=written["seconds"],
            machine=written["machine"],
            options=written["options"],
            benchmarks=written["benchmarks"],
            results=Results.from_json(written),
        )

    def as_markdown(self) -> str:
        """The table of lines, and below it machine, options and time."""
        below = {**self.machine, **self.options, "ended": self.at, "seconds": f"{self.seconds:.0f}"}
        facts = "; ".join(f"{name} {value}" for name, value in below.items())
        return f"{lines_markdown(self.judgements)}\n{facts}.\n"

    def show(self, console: Console) -> None:
        """Print it."""
        console.print("; ".join(f"{name} {value}" for name, value in self.machine.items()))
        console.print("; ".join(f"{name} {value}" for name, value in self.options.items()))
        console.print(contestants_table(self.results))
        console.print(lines_table(self.judgements))
        for name, reason in self.results.missing.items():
            console.print(f"{name} could not be measured: {reason}")
        console.print(f"{self.at}, {self.seconds:.0f} seconds")


def _line_as_json(judged: Judgement) -> dict[str, Any]:
    line = judged.line
    return {
        "what": line.what,
        "ours": [*line.ours],
        "peer": None if line.peer is None else [*line.peer],
        "at_least": line.at_least,
        "bound": line.bound,
        "value": judged.value,
        "verdict": judged.verdict.value,
    }
