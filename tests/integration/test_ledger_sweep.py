"""``zdk sweep`` and the ledger: what is old is forgotten, and nothing that may come again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from api_client.cli.main import build_app
from api_client.contract.codec import Message
from api_client.contract.limits import MAX_MESSAGE_AGE_DAYS
from tests.support.items import append, create
from tests.support.postgres import PostgresServer
from tests.support.stores import contents, ledger_size, made, open_store
from worker.cli.sweep import sweep_ledger
from worker.ledger import find
from worker.migrate import upgrade
from worker.schema import ledger
from worker.storage import Storage


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    yield postgres.create_database("ledger_sweep")
    postgres.drop_database("ledger_sweep")


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    sqlite = f"sqlite:///{tmp_path / 'zdk.db'}"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return {"ZDK_DATABASE_URL": url, "ZDK_ARTIFACTS_URL": f"file://{tmp_path / 'blobs'}"}


@pytest.fixture
def storage(environment: dict[str, str]) -> Iterator[Storage]:
    opened = open_store(environment["ZDK_DATABASE_URL"])
    upgrade(opened.database)
    with opened.database.write.begin() as connection:
        connection.execute(ledger.delete())
    yield opened
    opened.close()


def sweep(environment: dict[str, str], *options: str, **settings: str) -> Result:
    return CliRunner().invoke(build_app(), ["sweep", *options], env=environment | settings)


def swept(environment: dict[str, str], **settings: str) -> Any:
    result = sweep(environment, "--json", **settings)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["messages"]


def applied(storage: Storage, days_ago: float, *operations: dict[str, Any]) -> Message:
    """A message that was applied some time ago."""
    message = made(*operations or [append("nowhere", 1)])
    storage.apply([message])
    then = datetime.now(timezone.utc) - timedelta(days=days_ago)
    with storage.database.write.begin() as connection:
        statement = update(ledger).where(ledger.c.message_id == message.id)
        connection.execute(statement.values(applied_at=then))
    return message


def test_only_old_messages_are_forgotten(environment: dict[str, str], storage: Storage) -> None:
    for days in (0, 1, 7, 29.9, 30.1, 31, 400):
        applied(storage, days)
    assert swept(environment) == 3
    assert ledger_size(storage) == 4
    assert swept(environment) == 0


def test_how_long_is_the_operators_choice(environment: dict[str, str], storage: Storage) -> None:
    for days in (7.9, 8.1, 20):
        applied(storage, days)
    assert swept(environment, ZDK_LEDGER_DAYS="8") == 2
    assert swept(environment, ZDK_LEDGER_DAYS="400") == 0
    assert "older than 400 days" in sweep(environment, ZDK_LEDGER_DAYS="400").stdout


@pytest.mark.parametrize("days", ["7", "0", "-1", "x", "7.5"])
@pytest.mark.parametrize("words", [["sweep"], ["worker"], ["dead-letters", "list"]])
def test_no_less_than_clients_send_again(
    storage: Storage, environment: dict[str, str], days: str, words: list[str]
) -> None:
    applied(storage, 6)
    result = CliRunner().invoke(build_app(), words, env=environment | {"ZDK_LEDGER_DAYS": days})
    assert result.exit_code == 2
    assert "ZDK_LEDGER_DAYS" in result.stderr
    if days == "7":
        assert f"greater than {MAX_MESSAGE_AGE_DAYS}" in result.stderr
    assert ledger_size(storage) == 1


def test_what_is_remembered_is_still_answered(
    environment: dict[str, str], storage: Storage
) -> None:
    session = f"s-{storage.database.dialect}"
    storage.apply([made(create(session))])
    recent = applied(storage, MAX_MESSAGE_AGE_DAYS + 0.5, append(session, "once"))
    for _ in range(3):
        swept(environment, ZDK_LEDGER_DAYS=str(MAX_MESSAGE_AGE_DAYS + 1))
        storage.apply([recent])
    assert contents(storage, session) == ["once"]


def test_batch_by_batch(
    environment: dict[str, str], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["worker.cli.sweep"], "_BATCH", 3)
    for _ in range(10):
        applied(storage, 31)
    applied(storage, 29)
    assert swept(environment) == 10
    assert ledger_size(storage) == 1


def test_two_sweeps_and_workers_at_the_same_time(
    environment: dict[str, str], storage: Storage
) -> None:
    old = [applied(storage, 31) for _ in range(30)]
    new = [made(append("nowhere", number)) for number in range(30)]
    counts: list[int] = []

    def run() -> None:
        opened = open_store(environment["ZDK_DATABASE_URL"])
        counts.append(sweep_ledger(opened.database, 30))
        opened.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    # Late copies of what is being forgotten, and new messages.
    for message in [one for pair in zip(old, new, strict=True) for one in pair]:
        (reply,) = storage.apply([message])
        assert reply.error is None
    for thread in threads:
        thread.join(60)
    assert sum(counts) + swept(environment) <= len(old)
    with storage.database.read.connect() as connection:
        assert len(find(connection, [message.id for message in new])) == len(new)
