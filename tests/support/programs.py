"""Programs that tests run in processes of their own, and the ``zdk`` command in this one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from api_client.cli.main import build_app

_SECONDS = 100.0


def run_python(
    arguments: Sequence[str], *, environment: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, bounded in time; output and errors come back as text.

    The environment holds nothing of ours but ``environment``.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean_environment(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def run_zdk(
    *arguments: str, environment: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run the ``zdk`` command likewise.

    A process takes most of a second of the processor; where nothing depends on it, use
    `invoke_zdk`.
    """
    return run_python(["-m", "api_client", *arguments], environment=environment, cwd=cwd)


def invoke_zdk(*arguments: str, environment: Mapping[str, str]) -> Result:
    """Run the ``zdk`` command in this process, with an environment like `run_zdk`'s."""
    others = dict.fromkeys(name for name in os.environ if name.startswith("ZDK_"))
    with _log_as_it_was():
        return CliRunner().invoke(build_app(), arguments, env={**others, **environment})


def clean_environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without our settings, and with ``own``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZDK_")}
    return {**kept, **own}


@contextmanager
def _log_as_it_was() -> Iterator[None]:
    """Undo what a command that ends with its process does to the log of that process."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
