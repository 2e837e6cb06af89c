"""What is worth trying again, and for how long."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api_client.contract.errors import Conflict
from worker import retry
from worker.retry import TryAgain, is_transient, with_retries


class DriverError(psycopg2.Error):
    """An error of the driver with the SQLSTATE that a server would have sent."""

    def __init__(self, state: str | None):
        super().__init__(state)
        self.state = state

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self.state


def of_server(state: str | None, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("SELECT 1", {}, DriverError(state))


@pytest.mark.parametrize(
    "state",
    [
        "08000",  # connection exception
        "08006",  # connection failure
        "40001",  # serialization failure
        "40P01",  # deadlock detected
        "53100",  # disk full
        "53300",  # too many connections
        "55P03",  # lock not available
        "57P01",  # admin shutdown
        "57P03",  # cannot connect now
        "58030",  # I/O error
        "25P03",  # idle in transaction timeout
        "25006",  # read only transaction: a standby, just after a failover
        "25P02",  # in failed transaction
        "42501",  # insufficient privilege, until an operator grants it
        "42P01",  # undefined table, until an operator migrates
        "55000",  # object not in prerequisite state
    ],
)
def test_trouble_of_the_server_that_passes(state: str) -> None:
    assert is_transient(of_server(state))
    assert is_transient(of_server(state, OperationalError))


@pytest.mark.parametrize(
    "state",
    [
        "22001",  # value too long
        "22021",  # character not in repertoire
        "23505",  # unique violation
        "0A000",  # feature not supported
        "54000",  # program limit exceeded
        "XX000",  # internal error
    ],
)
def test_trouble_of_the_server_that_stays(state: str) -> None:
    assert not is_transient(of_server(state))
    assert not is_transient(of_server(state, OperationalError))
    assert not is_transient(of_server(state, IntegrityError))


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_connection_that_broke_has_no_state_and_passes(kind: type[DBAPIError]) -> None:
    assert is_transient(of_server(None, kind))


def test_a_connection_that_was_invalidated_passes_whatever_the_error() -> None:
    error = DBAPIError("SELECT 1", {}, DriverError("XX000"), connection_invalidated=True)
    assert is_transient(error)


def test_a_locked_sqlite_file_passes_and_a_broken_rule_stays() -> None:
    locked = sqlite3.OperationalError("database is locked")
    assert is_transient(OperationalError("BEGIN", {}, locked))
    unique = sqlite3.IntegrityError("UNIQUE constraint failed")
    assert not is_transient(IntegrityError("INSERT", {}, unique))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (TryAgain("a session changed hands"), True),
        (PoolTimeout("no connection is free"), True),
        (OSError(28, "No space left on device"), True),
        (ConnectionResetError(), True),
        (Conflict("expected_revision"), False),
        (ValueError("a fault of ours"), False),
        (KeyError("another"), False),
    ],
)
def test_errors_of_other_kinds(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


class Flaky:
    """Fails with the given errors, one per call, and then succeeds."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of no length at all."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.0)


@pytest.mark.usefixtures("_at_once")
class TestWithRetries:
    def test_success_is_returned_at_once(self) -> None:
        work = Flaky()
        assert with_retries(work, patience=10) == "done"
        assert work.calls == 1

    def test_passing_trouble_is_tried_again_until_it_has_passed(self) -> None:
        work = Flaky(TryAgain(), of_server("40P01"), OSError("disk full"))
        assert with_retries(work, patience=10) == "done"
        assert work.calls == 4

    def test_other_trouble_is_raised_at_once(self) -> None:
        work = Flaky(ValueError("a fault of ours"))
        with pytest.raises(ValueError, match="a fault of ours"):
            with_retries(work, patience=10)
        assert work.calls == 1

    def test_trouble_that_changes_its_kind_is_raised(self) -> None:
        work = Flaky(TryAgain(), Conflict("no"))
        with pytest.raises(Conflict):
            with_retries(work, patience=10)
        assert work.calls == 2


@pytest.mark.parametrize("patience", [0.0, retry.FIRST_DELAY / 2])
def test_patience_ends_with_the_last_error(patience: float) -> None:
    work = Flaky(TryAgain("first"), TryAgain("second"))
    with pytest.raises(TryAgain, match="first"):
        with_retries(work, patience=patience)
    assert work.calls == 1


def test_patience_is_about_the_whole_not_about_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a clock that moves only when somebody waits,
    now = 0.0
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("time.sleep", sleep)
    always: Callable[[], str] = Flaky(*[TryAgain(str(n)) for n in range(1000)])

    # when trouble does not pass, then it is raised within the patience, after growing pauses.
    with pytest.raises(TryAgain):
        with_retries(always, patience=20.0)
    assert 20.0 - 2 * retry.LONGEST_DELAY <= now <= 20.0
    assert pauses[0] <= retry.FIRST_DELAY
    assert max(pauses) <= retry.LONGEST_DELAY
    assert len(pauses) < 30
