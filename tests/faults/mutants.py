"""``make chaos-mutants``: every protection that is switched off must turn a checker red."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.catalogue import choose
from tests.faults.place import SiteOptions
from tests.faults.run import Result, run


@dataclass(frozen=True)
class Scenario:
    """A short chaos that exposes one mutant.

    Attributes:
        mutant: the protection that is switched off; none in the control.
        mix: the workload.
        faults: what exposes it.
        seconds: of attack.
        publishers: how many plain publishers take part.
        clients, rate: how many clients, and the operations a second of each.
    """

    mutant: str
    mix: str
    faults: str
    seconds: float
    publishers: int = 0
    clients: int = 2
    rate: float = 150.0


_PLAIN = "kill-pool-child,kill-before-commit"

SCENARIOS = (
    Scenario("ledger", "artifacts", "duplicate-queue,kill-after-commit", 12.0),
    Scenario("resend", "all", "broker-flush,kill-after-pop", 8.0),
    Scenario("stop-and-wait", "appends", "lock-rows,kill-pool-child", 12.0),
    # Few operations in each message, so that some messages have updates only.
    Scenario("row-lock", "shared", "kill-pool-child", 12.0, clients=4, rate=30.0),
    Scenario("fsync-order", "artifacts", "kill-after-commit,kill-worker", 12.0),
    Scenario("late-ack", "appends", _PLAIN, 12.0, publishers=1),
    Scenario("", "all", _PLAIN, 12.0, publishers=1),
)
_DRAIN_SECONDS = 15.0


def main() -> None:
    """Run all scenarios, or those named; exit with 1 if a mutant survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants; all, and the control, if none")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [s for s in SCENARIOS if not options.names or s.mutant in options.names]
    console = Console()
    table = Table("switched off", "caught by", title="Mutants")
    table.add_column("violations", justify="right")
    table.add_column("faults", justify="right")
    table.add_column("seconds", justify="right")
    passed = True
    for scenario in chosen:
        console.print(f"{scenario.mutant or 'control'} ...", highlight=False)
        result = _run(scenario, options.seed)
        # The control must not be caught, everything else must.
        right = result.passed == (not scenario.mutant)
        passed = passed and right
        table.add_row(*_row(scenario, result), style="" if right else "red")
    console.print(table)
    sys.exit(0 if passed else 1)


def _run(scenario: Scenario, seed: int) -> Result:
    folder = Path(tempfile.mkdtemp(prefix=f"zdk-mutant-{scenario.mutant or 'none'}-"))
    folder.chmod(0o755)
    options = SiteOptions(
        seed=seed,
        mix=scenario.mix,
        clients=scenario.clients,
        rate=scenario.rate,
        publishers=scenario.publishers,
        drain=_DRAIN_SECONDS,
        mutant=scenario.mutant,
    )
    result = run(folder, options, choose(scenario.faults), scenario.seconds, pause=0.7)
    if result.passed == (not scenario.mutant):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        Console().print(f"kept: {folder}", highlight=False)
    return result


def _row(scenario: Scenario, result: Result) -> list[str]:
    caught = [name for name, found in result.violations.items() if found]
    return [
        scenario.mutant or "nothing (control)",
        ", ".join(caught) or "nothing",
        str(sum(map(len, result.violations.values()))),
        str(sum(result.injected.values())),
        f"{result.seconds:.0f}",
    ]


if __name__ == "__main__":
    main()
