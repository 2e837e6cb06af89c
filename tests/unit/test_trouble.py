"""What the log says of trouble: each kind once in a while, not each try."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from worker import retry
from worker.logs.format import LineFormatter
from worker.logs.masking import describe
from worker.retry import Trouble, TryAgain, with_retries


class Refused(psycopg2.OperationalError):
    """An error of the driver with a state of the server's."""

    def __init__(self, state: str | None, message: str = "refused"):
        super().__init__(message)
        self._state = state

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self._state


def of_server(state: str | None, message: str = "refused") -> OperationalError:
    return OperationalError("SELECT secret", {"parameter": "secret"}, Refused(state, message))


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trouble(clock: Clock, caplog: pytest.LogCaptureFixture) -> Iterator[Trouble]:
    with caplog.at_level(logging.INFO, logger=retry.__name__):
        yield Trouble(clock)


def test_a_thousand_tries_are_one_line(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1000):
        trouble.log(of_server("57P03", f"try {number}"))
    (record,) = caplog.records
    assert "try 0" in describe(vars(record)["error"])
    assert record.levelno == logging.WARNING


def test_after_a_minute_it_is_said_again(
    trouble: Trouble, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for clock.now in (0.0, 59.9, 60.0, 119.0, 120.0):
        trouble.log(of_server("57P03"))
    assert len(caplog.records) == 3


def test_each_kind_is_said_by_itself(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(10):
        trouble.log(of_server("57P03"))
        trouble.log(of_server("40P01"))
        trouble.log(of_server(None))
        trouble.log(OSError(28, "No space left on device"))
        trouble.log(TryAgain("a session changed hands"))
    assert len(caplog.records) == 5


def test_what_was_written_is_not_told(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    trouble.log(of_server("57P03", "the server is starting up\n"))
    (record,) = caplog.records
    line = LineFormatter("console").format(record)
    assert line.endswith("error='Refused: state 57P03: the server is starting up'")
    assert "secret" not in line


def test_a_caller_learns_of_trouble_once_and_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.0)
    told: list[int] = []
    tries = 0

    def work() -> str:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise TryAgain(str(tries))
        return "done"

    assert with_retries(work, patience=10, on_trouble=lambda: told.append(tries)) == "done"
    assert told == [1]


def test_a_caller_learns_of_trouble_that_is_raised_at_once() -> None:
    told: list[int] = []

    def work() -> None:
        raise TryAgain

    with pytest.raises(TryAgain):
        with_retries(work, patience=0.0, on_trouble=lambda: told.append(1))
    assert told == [1]


def test_a_fault_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with_retries(work, patience=10, on_trouble=lambda: told.append(1))
    assert told == []
    assert caplog.records == []
