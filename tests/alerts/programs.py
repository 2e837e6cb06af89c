"""Prometheus' programs, which this project does not install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"


class Absent(Exception):
    """A program is not installed; the text says how to get it."""


def program(name: str) -> str:
    """The path of one.

    Raises:
        Absent: it is not on the PATH.
    """
    found = shutil.which(name)
    if found is None:
        raise Absent(
            f"{name} is not on the PATH; on Debian: apt-get install prometheus "
            "(or apt-get download it, dpkg-deb -x, and put its usr/bin on the PATH)"
        )
    return found


def check_rules() -> None:
    """Have promtool check the rules and the configuration, and run the rules' own tests.

    Raises:
        Absent: there is no promtool.
        subprocess.CalledProcessError: it has found something, and printed it.
    """
    promtool = program("promtool")
    for arguments in (
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", *sorted(os.listdir(RULES / "tests"))),
    ):
        folder = RULES / "tests" if arguments[0] == "test" else RULES
        subprocess.run([promtool, *arguments], cwd=folder, check=True, timeout=60)
