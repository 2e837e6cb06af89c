"""What becomes of a delivery: applied, handed back, given up; and of bad operations in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Connection, insert, text

from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, Unavailable
from api_client.contract.operations import CreateSession
from api_client.contract.outcomes import Outcome, WriteReply
from api_client.contract.records import new_id
from tests.support import artifacts
from tests.support.items import append, create
from tests.support.stores import contents, ledger_size, letters, made, open_store, revision
from worker.broker.attempts import Attempts
from worker.broker.delivery import Deliveries, HandBack
from worker.embedded.valkey import EmbeddedValkey
from worker.origin import Origin
from worker.schema import app_state
from worker.sessions import store as session_store
from worker.storage import Storage
from worker.writes import Writes


class Killed(BaseException):
    """Ends a simulated process in the middle of its work."""


class Process:
    """Stands for a worker process: deliveries over pools and connections of its own."""

    def __init__(
        self, store: Storage, redis: Redis, *, max_tries: int = 5, give_up_after: int | None = None
    ):
        self._redis = redis
        self._store = store
        self.attempts = Attempts(redis)
        self.deliveries = Deliveries(
            store, self.attempts, max_tries=max_tries, give_up_after=give_up_after
        )

    def apply(self, message: Message, *, again: bool = True) -> WriteReply:
        """Apply; a process that is killed by it loses its connections."""
        try:
            return self.deliveries.apply(message, Origin(), again=again)
        except Killed:
            self._redis.client_kill_filter(_id=self.attempts._name())
            raise

    def close(self) -> None:
        self._redis.close()
        self._store.close()


Start = Callable[..., Process]


@pytest.fixture
def redis_url(valkey_server: EmbeddedValkey) -> str:
    url = f"{valkey_server.url.removesuffix('/0')}/8"
    with Redis.from_url(url) as redis:
        redis.flushdb()
    return url


@pytest.fixture
def start(store: Storage, store_url: str, redis_url: str) -> Iterator[Start]:
    """Starts processes over the same database, which is emptied first."""
    with ExitStack() as started:

        def new(*, patience: float = 0.0, **options: Any) -> Process:
            process = Process(
                open_store(store_url, patience=patience), Redis.from_url(redis_url), **options
            )
            started.callback(process.close)
            return process

        yield new


class Fault:
    """Makes applying sessions fail, while it is on, if one of the operations is marked.

    Parameters:
        raised: makes the error, or raises one by means of the connection.
    """

    def __init__(self, patch: pytest.MonkeyPatch, raised: Callable[[Connection], BaseException]):
        self.on = True
        self.met = 0
        self._raised = raised
        self._real = session_store.apply
        patch.setattr(session_store, "apply", self._apply)

    def _apply(
        self,
        connection: Connection,
        writes: Writes,
        operations: Sequence[Any],
        now: Any,
        **options: Any,
    ) -> Any:
        found = self._real(connection, writes, operations, now, **options)
        marked = any(
            isinstance(op, CreateSession) and op.key.session == "marked" for op in operations
        )
        if self.on and marked:
            self.met += 1
            raise self._raised(connection)
        return found


MARKED = create("marked")


def codes(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [found.error.code if found.error else None for found in outcomes]


class TestHealthy:
    def test_the_first_delivery_needs_no_redis(self, store: Storage) -> None:
        class Untouched(Redis):
            def execute_command(self, *args: Any, **options: Any) -> Any:
                raise AssertionError("the first delivery must not be counted")

            pipeline = execute_command

        attempts = Attempts(Untouched())
        deliveries = Deliveries(store, attempts, max_tries=5, give_up_after=None)
        assert codes(deliveries.apply(made(create("s")), Origin(), again=False).outcomes) == [None]

    def test_one_that_comes_again_and_again_has_one_effect(
        self, start: Start, store: Storage, redis_url: str
    ) -> None:
        process, message = start(), made(create("s"), append("s", 1))
        replies = [process.apply(message, again=number > 0) for number in range(20)]
        assert all(reply == replies[0] for reply in replies)
        assert contents(store, "s") == [1]
        with Redis.from_url(redis_url) as redis:
            assert redis.keys("zdk:*") == []

    def test_many_copies_at_the_same_time_have_one_effect_and_one_reply(
        self, start: Start, store: Storage
    ) -> None:
        # As when workers start after an hour, and all find copies of the same message.
        processes = [start(patience=30.0) for _ in range(8)]
        barrier = threading.Barrier(len(processes))
        for round_ in range(8):
            session = f"s{round_}"
            message = made(create(session), append(session, 1), append("nowhere", 2))

            def deliver(process: Process, message: Message = message) -> WriteReply:
                barrier.wait(30)
                return process.apply(message)

            with ThreadPoolExecutor(len(processes)) as pool:
                replies = list(pool.map(deliver, processes))
            assert codes(replies[0].outcomes) == [None, None, "not_found"]
            assert all(reply == replies[0] for reply in replies)
            assert contents(store, session) == [1]
        assert len(letters(store)) == 8
        assert ledger_size(store) == 8

    def test_a_copy_after_ten_thousand_others_has_no_effect(
        self, start: Start, store: Storage
    ) -> None:
        process = start()
        message = made(create("s"), append("s", "once"))
        first = process.apply(message, again=False)
        others = [made(append("s", number)) for number in range(10_000)]
        for place in range(0, len(others), 500):
            store.apply(others[place : place + 500])
        assert process.apply(message) == first
        assert revision(store, "s") == 10_001
        assert ledger_size(store) == 10_001


class TestDeadly:
    def test_after_five_tries_it_is_given_up(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault = Fault(monkeypatch, lambda _: Killed())
        message = made(append("s", 1), MARKED, create("s"))
        for number in range(5):
            with pytest.raises(Killed):
                start().apply(message, again=number > 0)
        reply = start().apply(message)
        assert fault.met == 5
        assert codes(reply.outcomes) == [Unavailable.code] * 3
        assert [letter.attempts for letter in letters(store)] == [5, 5, 5]
        assert [letter.position for letter in letters(store)] == [0, 1, 2]
        assert "killed its worker" in letters(store)[0].error
        # Nothing of it was applied, and a late copy gets the same answer without being tried.
        assert store.apply([message]) == [reply]
        assert start().apply(message) == reply
        assert fault.met == 5
        assert ledger_size(store) == 1

    def test_one_that_was_applied_after_all_is_answered(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault, message = Fault(monkeypatch, lambda _: Killed()), made(MARKED)
        for number in range(5):
            with pytest.raises(Killed):
                start().apply(message, again=number > 0)
        fault.on = False
        (applied,) = store.apply([message])
        assert codes(applied.outcomes) == [None]
        assert start().apply(message) == applied
        assert letters(store) == []

    def test_one_that_fails_unexpectedly_is_given_up_too(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process = start()

        def fault(*_: object, **__: object) -> Any:
            raise ZeroDivisionError("a fault of ours")

        monkeypatch.setattr("worker.transaction.ledger.record", fault)
        monkeypatch.setattr("worker.transaction.ledger.insert", fault)
        message = made(create("s"))
        for number in range(5):
            with pytest.raises(HandBack, match="a fault of ours"):
                process.apply(message, again=number > 0)
        monkeypatch.undo()
        assert codes(process.apply(message).outcomes) == [Unavailable.code]
        assert [letter.attempts for letter in letters(store)] == [5]

    def test_the_limit_is_the_operators(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Fault(monkeypatch, lambda _: Killed())
        message = made(MARKED)
        for number in range(2):
            with pytest.raises(Killed):
                start(max_tries=2).apply(message, again=number > 0)
        assert codes(start(max_tries=2).apply(message).outcomes) == [Unavailable.code]

    def test_the_verdict_outlasts_an_outage_of_the_database(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault = Fault(monkeypatch, lambda _: Killed())
        message = made(MARKED)
        for number in range(5):
            with pytest.raises(Killed):
                start().apply(message, again=number > 0)
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "give_up", _raise_no_space)
            for _ in range(3):
                with pytest.raises(HandBack, match="no space"):
                    start().apply(message)
        assert codes(start().apply(message).outcomes) == [Unavailable.code]
        assert fault.met == 5


class TestTrouble:
    def test_no_number_of_tries_is_too_many(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault = Fault(monkeypatch, lambda _: OSError(28, "no space"))
        process, message = start(), made(MARKED)
        for number in range(20):
            with pytest.raises(HandBack, match="no space"):
                process.apply(message, again=number > 0)
        fault.on = False
        assert codes(process.apply(message).outcomes) == [None]
        assert letters(store) == []

    def test_who_is_killed_during_trouble_was_not_killed_by_the_message(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a database that is away while workers are restarted more often than tries count,
        met = iter(range(1000))
        fault = Fault(monkeypatch, lambda _: Killed() if next(met) % 2 else OSError(28, "no space"))
        message = made(MARKED)
        for number in range(12):
            with pytest.raises(Killed):
                start(patience=30.0).apply(message, again=number > 0)
        # then the message is applied once the database is back.
        fault.on = False
        assert codes(start().apply(message).outcomes) == [None]
        assert letters(store) == []

    @pytest.mark.parametrize("limit", [1, 3])
    def test_an_operator_may_set_a_limit(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch, limit: int
    ) -> None:
        Fault(monkeypatch, lambda _: OSError(28, "no space"))
        process, message = start(give_up_after=limit), made(MARKED, append("s", 1))
        for number in range(limit - 1):
            with pytest.raises(HandBack):
                process.apply(message, again=number > 0)
        reply = process.apply(message, again=limit > 1)
        assert codes(reply.outcomes) == [Unavailable.code] * 2
        assert [letter.attempts for letter in letters(store)] == [limit] * 2
        assert "no space" in letters(store)[0].error
        assert store.apply([message]) == [reply]

    def test_what_cannot_be_recorded_is_not_given_up(
        self, start: Start, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault = Fault(monkeypatch, lambda _: OSError(28, "no space"))
        process, message = start(give_up_after=1), made(MARKED)
        with monkeypatch.context() as patched:
            patched.setattr(Storage, "give_up", _raise_no_space)
            for number in range(3):
                with pytest.raises(HandBack, match="no space"):
                    process.apply(message, again=number > 0)
        fault.on = False
        assert codes(process.apply(message).outcomes) == [None]


def _raise_no_space(*_: object) -> Any:
    raise OSError(28, "no space")


def python_error(connection: Connection) -> BaseException:
    return ZeroDivisionError("a fault of ours")


def data_error(connection: Connection) -> BaseException:
    impossible = {"postgresql": "SELECT 1/0", "sqlite": "SELECT zeroblob(2000000000)"}
    connection.execute(text(impossible[connection.dialect.name]))
    raise AssertionError("the database has not complained")


def integrity_error(connection: Connection) -> BaseException:
    connection.execute(insert(app_state).values(app=None, key="k"))
    raise AssertionError("the database has not complained")


@pytest.fixture(params=[python_error, integrity_error, data_error])
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    return Fault(monkeypatch, request.param)


class TestBadOperations:
    def test_only_the_bad_one_of_a_message_fails(
        self, start: Start, store: Storage, fault: Fault
    ) -> None:
        process = start()
        before = [create("a"), *(append("a", number) for number in range(20))]
        after = [append("a", 20), create("b"), append("b", 21)]
        message = made(*before, MARKED, *after)
        reply = process.apply(message, again=False)
        expected = [None] * len(before) + [StorageError.code] + [None] * len(after)
        assert codes(reply.outcomes) == expected
        assert contents(store, "a") == [*range(21)]
        assert contents(store, "b") == [21]
        (letter,) = letters(store)
        assert (letter.position, letter.attempts) == (len(before), 1)
        assert bytes(letter.body) == bytes(message.operations[len(before)])
        # The ledger has the whole of it: another copy changes nothing, and gets the same.
        fault.on = False
        assert process.apply(message) == reply
        assert contents(store, "a") == [*range(21)]
        assert ledger_size(store) == 1

    def test_messages_beside_it_are_applied(
        self, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Fault(monkeypatch, python_error)
        replies = store.apply([made(create("a")), made(MARKED, create("b")), made(create("c"))])
        found = [codes(reply.outcomes) for reply in replies]
        assert found == [[None], [StorageError.code, None], [None]]
        assert len(letters(store)) == 1

    def test_bytes_that_cannot_be_taken_in_fail_their_own_save_only(
        self, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = type(store.intake).take

        def taking(intake: Any, operation: Any, batch: Any) -> Any:
            if operation.key.name == "bad":
                raise ZeroDivisionError("a fault of ours")
            return take(intake, operation, batch)

        monkeypatch.setattr(type(store.intake), "take", taking)
        saves = [artifacts.saving(name, b"x").operations[0] for name in ("a", "bad", "b")]
        (reply,) = store.apply([Message(id=new_id(), operations=saves)])
        assert codes(reply.outcomes) == [None, StorageError.code, None]
        assert artifacts.load(store, "b") == b"x"
        assert [letter.position for letter in letters(store)] == [1]
