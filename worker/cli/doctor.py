"""``zdk doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.cli.output import Exit, fail, load_settings, print_json
from worker.doctor import CHECKS, Finding, examine

_MARKS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("-", "yellow")}


def doctor(
    timeout: Annotated[float, typer.Option(help="Seconds for the round trip.")] = 10.0,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="A check to leave out, such as round-trip. May be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check broker, results, database, schema, blob store, and a round trip through a worker.

    Says what to do about each failure, and exits with 5 if there is one. Settings come from the
    same environment as the worker's.

    Example: zdk doctor --skip round-trip
    """
    left_out = frozenset(name.replace("-", " ") for name in skip or ())
    if unknown := left_out - set(CHECKS):
        names = ", ".join(name.replace(" ", "-") for name in CHECKS)
        fail(f"--skip {min(unknown)!r}: the checks are {names}", Exit.USAGE)
    findings = examine(load_settings(), timeout=timeout, skip=left_out)
    if as_json:
        found = list(findings)
        print_json({"ok": all(f.ok is not False for f in found), "checks": found})
    else:
        found = _print(findings)
    if any(finding.ok is False for finding in found):
        raise typer.Exit(Exit.UNAVAILABLE)


def _print(findings: Iterable[Finding]) -> list[Finding]:
    console = Console(highlight=False)
    found = []
    for finding in findings:
        found.append(finding)
        mark, style = _MARKS[finding.ok]
        line = Text.assemble((f"{mark:>7}", style), f"  {finding.name:<11} {finding.detail}")
        console.print(line, soft_wrap=True)
        if finding.advice:
            console.print(Text(f"{'':9}{'':<12}-> {finding.advice}"), soft_wrap=True)
    return found
