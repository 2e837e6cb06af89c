"""Processes of the benchmarks: clients that are told what to do, and how much memory they take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import peaks
from benchmarks.helper import Helper
from benchmarks.peaks import Peaks
from tests.support.waiting import wait_until

_MIB = 1 << 20
_ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"


def test_a_helper_does_what_it_is_told(tmp_path: Path) -> None:
    with Helper(["-c", _ECHO], tmp_path / "log") as helper:
        for word in ("one", "two"):
            helper.tell(word)
            assert helper.hear() == word.upper()


def test_a_helper_that_has_ended_is_an_error_with_its_log(tmp_path: Path) -> None:
    with (
        Helper(["-c", "raise SystemExit('out of order')"], tmp_path / "log") as helper,
        pytest.raises(RuntimeError, match="out of order"),
    ):
        helper.hear()


@pytest.mark.parametrize("sampled", [False, True])
def test_a_peak_is_noticed_after_it_is_over(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr(peaks, "_begin_anew", lambda pid: False)
    own = os.getpid()
    with Peaks([own]) as watched:
        held = bytearray(os.urandom(64 * _MIB))
        wait_until(lambda: watched.above_idle[own] > 48 * _MIB, "the memory is seen", timeout=10)
        del held
    assert 48 * _MIB < watched.above_idle[own] < 256 * _MIB


def test_a_peak_before_is_forgotten() -> None:
    held = bytearray(os.urandom(128 * _MIB))
    del held
    with Peaks([os.getpid()]) as watched:
        pass
    assert watched.above_idle[os.getpid()] < 64 * _MIB
