"""What `zdk top` sees of the broker and of the database."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import insert

from api_client.contract.records import new_id
from worker.broker.queues import BrokerState, QueueState, UnacknowledgedState
from worker.database import Database, DatabaseOptions
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade
from worker.schema import dead_letters
from worker.top import looks
from worker.top.states import NewestDeadLetter

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("waiting", "taken", "lag"),
    [
        ([3.0, 7.0], 1.0, 7.0),
        ([3.0, None], 9.0, 9.0),
        ([None, None], None, 0.0),
    ],
)
def test_lag_is_the_age_of_the_oldest(
    waiting: list[float | None], taken: float | None, lag: float
) -> None:
    queues = [QueueState("q", 1, age) for age in waiting]
    assert looks._lag(BrokerState(queues, UnacknowledgedState(1, taken))) == lag
    assert looks._lag(BrokerState(queues)) == max(filter(None, waiting), default=0.0)


def test_memory_of_a_broker(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        with Redis.from_url(server.url) as redis:
            redis.config_set("maxmemory", 200 << 20)
        found = looks.broker_looks(server.url)()
    assert found.memory is not None
    assert 0 < found.memory.used < found.memory.most == 200 << 20
    assert found.memory.policy == "noeviction"


def test_a_database(tmp_path: Path) -> None:
    options = DatabaseOptions(f"sqlite:///{tmp_path / 'zdk.db'}")
    database = Database(options)
    upgrade(database)
    look = looks.database_looks(options)
    assert (look().dead_letters, look().newest) == (0, None)
    with database.write.begin() as connection:
        for number, code in enumerate(("not_found", "conflict")):
            connection.execute(
                insert(dead_letters).values(
                    message_id=new_id(),
                    code=code,
                    body=b"",
                    **dict.fromkeys(("position", "size", "attempts"), 1),
                    **dict.fromkeys(("app", "user_id", "session_id"), "a"),
                    **dict.fromkeys(("operation", "error", "headers"), ""),
                    issued_at=NOON,
                    failed_at=NOON + timedelta(hours=number),
                )
            )
    found = look()
    assert (found.dialect, found.dead_letters) == ("sqlite", 2)
    assert found.newest == NewestDeadLetter(NOON + timedelta(hours=1), "conflict")
    # More than the one page of an empty one, although most of it is still in the log beside it.
    assert found.size > 4096
    database.close()
