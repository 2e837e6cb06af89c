"""``python -m tests.faults``, which is ``make chaos``."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.faults.attack import BROKERS
from tests.faults.catalogue import choose
from tests.faults.place import SiteOptions
from tests.faults.report import show
from tests.faults.run import Result, run
from tests.faults.schedule import Scheduler
from tests.faults.site import Site
from tests.support.releases import PREVIOUS, tree_of

#: Seconds between two progress lines at a terminal, where they replace one another, and in a file.
_AT_TERMINAL, _IN_FILE = 1.0, 10.0


def main() -> None:
    """Run the chaos; exit with 1 if anything is wrong."""
    options = _options()
    console = Console()
    if options.list_faults:
        for fault in choose(broker=options.broker):
            print(fault.name)
        return
    folder = Path(tempfile.mkdtemp(prefix="zdk-chaos-"))
    folder.chmod(0o755)
    console.print(f"seed {options.seed}; data and logs in {folder}", highlight=False)
    mixed = options.mixed is not None
    site = SiteOptions(
        seed=options.seed,
        # One of each kind; see `tests.faults.place`.
        workers=max(options.workers, 3 if mixed else 1),
        concurrency=1 if mixed else 2,
        clients=max(options.clients, 3 if mixed else 1),
        rate=options.rate,
        broker=options.broker,
        beside=tree_of(options.mixed, folder) if mixed else None,
    )
    result = run(
        folder,
        site,
        options.chosen,
        options.minutes * 60,
        pause=options.pause,
        on_progress=_Progress(console),
    )
    _finish(result, folder, options, console)


def _finish(result: Result, folder: Path, options: argparse.Namespace, console: Console) -> None:
    show(result, console)
    if options.json is not None:
        options.json.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    if result.passed and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        console.print(f"kept: {folder}", highlight=False)
    if not result.passed:
        console.print(f"the same schedule again: {_command(options)}", highlight=False)
        sys.exit(1)


class _Progress:
    """A line about the run, every few seconds."""

    def __init__(self, console: Console):
        self._console = console
        self._next = float("inf")

    def __call__(self, left: float, scheduler: Scheduler, site: Site) -> None:
        if left > self._next:
            return
        self._next = left - (_AT_TERMINAL if self._console.is_terminal else _IN_FILE)
        text = (
            f"{left:5.0f} s left  {sum(scheduler.injected.values()):4} faults injected  "
            f"now: {', '.join(scheduler.going_on()) or '-'}"
        )
        end = "\r" if self._console.is_terminal else "\n"
        self._console.print(text.ljust(100), end=end, highlight=False, soft_wrap=True)


def _command(options: argparse.Namespace) -> str:
    words = [f"--seed {options.seed}", f"--minutes {options.minutes:g}"]
    words += [f"--workers {options.workers}", f"--clients {options.clients}"]
    words += [f"--rate {options.rate:g}", f"--pause {options.pause:g}"]
    if options.broker != "redis":
        words.append(f"--broker {options.broker}")
    if options.mixed:
        words.append(f"--mixed {options.mixed}")
    if options.faults:
        words.append(f"--faults {options.faults}")
    return f'make chaos CHAOS="{" ".join(words)}"'


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=2.0, help="of attack; more to drain")
    parser.add_argument("--faults", default="", help="names, separated by commas; default: all")
    parser.add_argument("--broker", choices=BROKERS, default="redis")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rate", type=float, default=150.0, help="operations/s of each client")
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds between faults")
    parser.add_argument("--json", type=Path, help="write the result there as well")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument(
        "--mixed",
        nargs="?",
        const=PREVIOUS,
        metavar="REF",
        help="some workers and clients are of an earlier release; default: the previous one",
    )
    parser.add_argument("--list-faults", action="store_true")
    options = parser.parse_args()
    try:
        options.chosen = choose(options.faults, options.broker)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
