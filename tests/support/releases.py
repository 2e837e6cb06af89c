"""Earlier releases, from the repository's history, to be run beside this one.

At a release, a maintainer sets `PREVIOUS` to the tag of the one before, and leaves the others: they
are the last before a format changed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.documents import ROOT

#: The release before this one, with which rolling upgrades must work.
PREVIOUS = "b920954a79fea198a7f595e2b8ad17bd04208dd0"
#: The last with outbox files of format 1. Its workers do not know ``state.load``.
OUTBOX_1 = "d00e9415eb094f3caa99feafc9ee529eb5f1c00b"
#: The last with schema 0001.
SCHEMA_1 = "f2c60d4f8f02cce7f09eb948d1a9568b52b43a27"

_SECONDS = 60.0


def tree_of(ref: str, folder: Path) -> Path:
    """The files of a release, below ``folder``. As ``PYTHONPATH`` it goes before this one's.

    Parameters:
        ref: a tag, a branch or a commit.

    Raises:
        LookupError: the repository's history does not reach so far back.
    """
    place = folder / f"release-{ref[:12].replace('/', '-')}"
    if place.exists():
        return place
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", ref]
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise LookupError(
            f"release {ref} is not in this repository's history ({done.stderr.decode().strip()}); "
            "if it is a shallow clone, run git fetch --unshallow --tags"
        )
    place.mkdir()
    unpack = ["tar", "--extract", "--directory", str(place)]
    subprocess.run(unpack, input=done.stdout, timeout=_SECONDS, check=True)
    return place
