"""What every benchmark is given: servers, a folder, sizes, and where results go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurements import Results
from benchmarks.rounds import Turn, interleave, record
from benchmarks.servers import Servers
from benchmarks.storage import Storage, open_storage


@dataclass
class Bench:
    """One run.

    Attributes:
        folder: for whatever is written.
        servers: PostgreSQL and Valkey.
        results: where samples go.
        rounds: how many count, after a warm-up.
        quick: whether to see only that everything works.
        workers, concurrency: worker processes of this project, and pool processes in each.
        latency_workers: worker processes where one operation at a time is timed.
        tell: prints a line of progress.
    """

    folder: Path
    servers: Servers
    results: Results
    rounds: int
    quick: bool
    workers: int
    latency_workers: int
    concurrency: int
    tell: Callable[[int, str, Mapping[str, Sequence[float]]], object]

    def size(self, whole: int, quick: int) -> int:
        """How much of something: ``whole``, or ``quick`` in a quick run."""
        return quick if self.quick else whole

    def storage(
        self, name: str, *, workers: int | None = None, concurrency: int | None = None
    ) -> AbstractContextManager[Storage]:
        """This project with an empty database, see `open_storage`.

        Parameters:
            name: of its folder.
            workers, concurrency: other numbers than the run's.
        """
        return open_storage(
            self.servers,
            self.folder / name,
            workers=workers or self.workers,
            concurrency=concurrency or self.concurrency,
        )

    def compare(
        self, turns: Mapping[str, Turn], *, rounds: int | None = None, warm_up: bool = True
    ) -> None:
        """Run contestants in interleaved rounds, and keep what is measured.

        Parameters:
            turns: by contestant.
            rounds: another number than the run's.
            warm_up: see `interleave`.
        """
        measured = interleave(turns, rounds or self.rounds, self.tell, warm_up=warm_up)
        record(self.results, measured)

    def note(self, contestant: str, samples: Mapping[str, Sequence[float]]) -> None:
        """Keep what was measured outside of rounds.

        Parameters:
            contestant: who.
            samples: by metric.
        """
        self.tell(1, contestant, samples)
        self.results.add(contestant, samples)
