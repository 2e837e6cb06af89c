"""A seeded subset of ``make chaos``: every kind of fault once, in real processes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.faults.catalogue import choose
from tests.faults.place import SiteOptions
from tests.faults.run import run

_SEED = 20
#: Seconds in which every kind of fault has its turn on two cores that are busy with other tests.
_ATTACK_SECONDS = 50.0
#: Kinds that may find no chance, such as a message to die with, in so short a time.
_MOST_MISSED = 6


# Its stack takes both cores of a small machine, so it does not run beside itself.
@pytest.mark.xdist_group("chaos")
@pytest.mark.timeout(240)
def test_nothing_accepted_is_lost_doubled_reordered_or_silent() -> None:
    # Not tmp_path: the folder is kept, with all logs, if anything is wrong, and only then.
    folder = Path(tempfile.mkdtemp(prefix="zdk-chaos-test-"))
    # PostgreSQL runs as another user, who must be able to enter.
    folder.chmod(0o755)
    faults = choose()
    options = SiteOptions(seed=_SEED, rate=100.0)
    result = run(folder, options, faults, _ATTACK_SECONDS, pause=0.8, each_once=True)
    nothing: dict[str, list[str]] = {checker: [] for checker in result.violations}
    assert result.violations == nothing, f"data and logs are in {folder}"
    assert len(result.injected) >= len(faults) - _MOST_MISSED, result.missed
    assert result.counts["applied"] > 1000
    shutil.rmtree(folder)
