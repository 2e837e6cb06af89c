"""What a run has shown, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.faults.attack import FAULTS
from tests.faults.run import Result

_SHOWN = 5


def show(result: Result, console: Console) -> None:
    """Print the tables of a run."""
    console.print(_faults(result))
    console.print(_operations(result))
    console.print(_violations(result))
    for name, found in result.violations.items():
        for line in found[:_SHOWN]:
            console.print(f"[red]{name}[/]: {line}", highlight=False, markup=True)
    drained = "not drained" if result.drain_seconds is None else f"{result.drain_seconds:.1f} s"
    verdict = "[green]no violation[/]" if result.passed else "[red]VIOLATIONS[/]"
    console.print(
        f"{verdict}; {sum(result.injected.values())} faults over "
        f"{result.counts['accepted']:,} accepted operations; drained in {drained}; "
        f"seed {result.seed}; {result.seconds:.0f} s in all"
    )


def _faults(result: Result) -> Table:
    table = Table("fault", "hurts", title="Faults")
    table.add_column("injected", justify="right")
    table.add_column("no chance", justify="right")
    for name in sorted(result.injected | result.missed):
        row = [name, FAULTS[name].target, str(result.injected[name]), str(result.missed[name])]
        table.add_row(*row)
    total = (sum(result.injected.values()), sum(result.missed.values()))
    table.add_row("all", "", *map(str, total), style="bold")
    return table


def _operations(result: Result) -> Table:
    table = Table(title="Operations")
    for name in result.counts:
        table.add_column(name, justify="right")
    table.add_row(*(f"{number:,}" for number in result.counts.values()))
    return table


def _violations(result: Result) -> Table:
    table = Table("checker", title="Audit")
    table.add_column("violations", justify="right")
    for name, found in result.violations.items():
        table.add_row(name, str(len(found)), style="red" if found else "")
    return table
