"""``zdk doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from worker.cli.output import Exit, fail, load_settings, print_json
from worker.doctor import CHECKS, Finding, examine
from worker.safety.rules import Risk

_WARNING = ("warning", "bold yellow")
_MARKS = {True: ("ok", "green"), False: ("FAILED", "bold red"), None: ("-", "yellow")}


def doctor(
    timeout: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds for the round trip.")
    ] = 10.0,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="A check to leave out, such as round-trip. May be repeated."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on what endangers data, instead of warning.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check broker, results, database, schema, blob store, and a round trip through a worker.

    Says what to do about each failure, and exits with 5 if there is one. Warns if the broker can
    lose or evict what it is given, with the setting to change. Settings come from the same
    environment as the worker's.

    Example: zdk doctor --skip round-trip

    Example: zdk doctor --strict
    """
    left_out = frozenset(name.replace("-", " ") for name in skip or ())
    if unknown := left_out - set(CHECKS):
        names = ", ".join(name.replace(" ", "-") for name in CHECKS)
        fail(f"--skip {min(unknown)!r}: the checks are {names}", Exit.USAGE)
    findings = examine(load_settings(), timeout=timeout, skip=left_out, strict=strict)
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
        mark, style = _WARNING if finding.ok and finding.risks else _MARKS[finding.ok]
        line = Text.assemble((f"{mark:>7}", style), f"  {finding.name:<11} {finding.detail}")
        console.print(line, soft_wrap=True)
        for risk in finding.risks:
            console.print(Text(f"{'':9}{'':<12}{_what(risk)}"), soft_wrap=True)
            console.print(Text(f"{'':9}{'':<12}-> {risk.remedy}"), soft_wrap=True)
        if finding.advice:
            console.print(Text(f"{'':9}{'':<12}-> {finding.advice}"), soft_wrap=True)
    return found


def _what(risk: Risk) -> str:
    return f"{risk.setting} is {risk.value}: {risk.cost}"
