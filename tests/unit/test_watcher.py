"""A part that is looked at again and again, and may stop answering."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.support.waiting import wait_until
from worker.top.watcher import Watcher


def test_a_look_that_never_ends_is_noticed() -> None:
    goes_on, looks = threading.Event(), iter([1])

    def look() -> int:
        found = next(looks, None)
        if found is None:
            goes_on.wait(60)
        return found or 2

    watcher = Watcher(lambda: look, 0.01)
    try:
        watcher.wait(30)
        wait_until(lambda: watcher.latest(0.0)[1].startswith("does not answer since"), "silence")
        assert watcher.latest(3600.0) == (1, "")
        goes_on.set()
        wait_until(lambda: watcher.latest(3600.0) == (2, ""), "a new look")
    finally:
        goes_on.set()
        watcher.close()


def test_what_cannot_be_opened_is_tried_again() -> None:
    tries = []

    def open_look() -> Callable[[], int]:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet\nsecond line")
        return lambda: 7

    watcher = Watcher(open_look, 0.01)
    try:
        wait_until(lambda: watcher.latest(30.0) == (7, ""), "an answer")
    finally:
        watcher.close()


@pytest.mark.parametrize(
    ("text", "told"), [("\nfirst\nsecond", "first"), ("x" * 300, "x" * 200), ("", "ValueError")]
)
def test_an_error_is_told_in_one_line_that_is_not_long(text: str, told: str) -> None:
    def open_look() -> Callable[[], int]:
        raise ValueError(text)

    watcher = Watcher(open_look, 3600.0)
    try:
        watcher.wait(30)
        assert watcher.latest(3600.0) == (None, told)
    finally:
        watcher.close()
