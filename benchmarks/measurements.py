"""What has been measured: samples by metric, contestant and round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.statistics import median

#: The unit of each metric.
UNITS = {
    "applied events": "events/s",
    "accepted": "s",
    "accepted under load": "s",
    "applied": "s",
    "append": "s",
    "echo": "s",
    "load": "s",
    "load last 20": "s",
    "adapter load": "s",
    "adapter append": "s",
    "append by length": "s",
    "load by length": "s",
    "list sessions": "s",
    "single operations": "operations/s",
    "ingest": "files/s",
    "large files": "bytes/s",
    "memory while saving": "bytes",
    "memory while loading": "bytes",
    "import time": "s",
    "import memory": "bytes",
    "applied events by workers": "events/s",
}


@dataclass
class Measurement:
    """One metric of one contestant.

    Attributes:
        rounds: the samples of each round: one for a rate, many for a latency.
    """

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def medians(self) -> list[float]:
        """The median of each round."""
        return [median(samples) for samples in self.rounds]

    @property
    def value(self) -> float:
        """The median of the rounds' medians."""
        return median(self.medians)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest of the rounds' medians."""
        return min(self.medians), max(self.medians)

    @property
    def samples(self) -> list[float]:
        """Those of all rounds."""
        return [sample for samples in self.rounds for sample in samples]


class Results:
    """All that has been measured in a run, by metric and contestant."""

    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, Measurement]] = {}
        #: Contestants that could not take part, with the reason.
        self.missing: dict[str, str] = {}

    def add(self, contestant: str, samples: Mapping[str, Sequence[float]]) -> None:
        """Add one round.

        Parameters:
            contestant: who was measured.
            samples: by metric, which is one of `UNITS`.

        Raises:
            KeyError: there is no such metric.
        """
        for metric, values in samples.items():
            if metric not in UNITS:
                raise KeyError(metric)
            found = self.metrics.setdefault(metric, {}).setdefault(contestant, Measurement())
            found.rounds.append([*values])

    def get(self, metric: str, contestant: str) -> Measurement | None:
        """What was measured, or None."""
        return self.metrics.get(metric, {}).get(contestant)

    def as_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`; samples with six significant digits."""
        return {
            "metrics": {
                metric: {
                    "unit": UNITS[metric],
                    "contestants": {
                        name: [[_rounded(sample) for sample in samples] for samples in found.rounds]
                        for name, found in contestants.items()
                    },
                }
                for metric, contestants in self.metrics.items()
            },
            "missing": self.missing,
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Results:
        """What `as_json` has returned, read again.

        Raises:
            KeyError: it is something else, or has a metric that this release does not know.
        """
        results = cls()
        for metric, found in written["metrics"].items():
            for contestant, rounds in found["contestants"].items():
                for samples in rounds:
                    results.add(contestant, {metric: samples})
        results.missing.update(written["missing"])
        return results


def _rounded(sample: float) -> float:
    return float(f"{sample:.6g}")
