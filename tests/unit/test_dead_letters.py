"""What is kept of failures, for how long, and what becomes of it when it is tried again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import update

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    StorageError,
    Unavailable,
)
from api_client.contract.outcomes import DeadLetterDiscarded, Outcome
from api_client.contract.records import new_id
from tests.support import artifacts, items
from tests.support.items import append, create
from tests.support.stores import contents, ledger_size, letters, made, open_store
from worker import dead_letters, transaction
from worker.broker import gate
from worker.dead_letters import KEPT_BYTES, WHOLE_MESSAGE, Limits, Refused
from worker.replay import replay
from worker.schema import dead_letters as table
from worker.sessions import store as session_store
from worker.storage import Storage

MEMORY = timedelta(days=30)


def apply(storage: Storage, message: Message) -> list[Outcome]:
    (reply,) = storage.apply([message])
    assert reply.error is None
    return reply.outcomes


def codes(outcomes: list[Outcome]) -> list[str | None]:
    return [found.error.code if found.error else None for found in outcomes]


def discard_operation(message_id: str, position: int) -> dict[str, Any]:
    return {"op": "dead_letter.discard", "message_id": message_id, "position": position}


def discard(storage: Storage, message_id: str, position: int) -> bool:
    (found,) = apply(storage, made(discard_operation(message_id, position)))
    assert found.error is None
    return msgspec.json.decode(found.ok, type=DeadLetterDiscarded).found


def in_the_way(storage: Storage, session: str, content: object = "late") -> int:
    """Have an append fail for want of its session; returns its dead letter."""
    assert codes(apply(storage, made(append(session, content)))) == ["not_found"]
    return int(letters(storage)[-1].pk)


def refuse(storage: Storage, content: bytes, **headers: Any) -> int:
    """Keep a message that the gate has refused; returns its dead letter."""
    kept = gate.refused({"task": codec.WRITE_TASK, "id": new_id(), **headers}, content, "why")
    storage.keep_refused(kept)
    return int(letters(storage)[-1].pk)


def copy_of(message: dict[str, Any]) -> Message:
    """The message that a worker finds in the body of a call, byte for byte."""
    return codec.decode_message(codec.decode_body(items.body(message))[0][0])


class TestKept:
    def test_a_failed_operation_is_kept_with_all_that_is_known(self, store: Storage) -> None:
        message = made(create("s"), append("other", "lost"), create("s"))
        assert codes(apply(store, message)) == [None, "not_found", "already_exists"]
        first, second = letters(store)
        assert (first.message_id, first.position) == (message.id, 1)
        assert (second.message_id, second.position) == (message.id, 2)
        assert (first.app, first.user_id, first.session_id) == ("app", "user", "other")
        assert (first.operation, first.code, first.attempts) == ("session.append", "not_found", 1)
        assert "other" in first.error
        assert bytes(first.body) == bytes(message.operations[1])
        assert first.size == len(message.operations[1])
        assert first.headers == ""
        now = datetime.now(timezone.utc)
        assert now - timedelta(minutes=1) < first.issued_at <= first.failed_at <= now

    def test_a_transaction_that_is_undone_leaves_none(
        self, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keep = dead_letters.keep_failures

        def keep_and_fail(*arguments: Any) -> None:
            keep(*arguments)
            raise RuntimeError("between dead letter and commit")

        message = made(append("nowhere", 1))
        with monkeypatch.context() as patched:
            patched.setattr(dead_letters, "keep_failures", keep_and_fail)
            with pytest.raises(RuntimeError, match="between"):
                store.apply([message])
        assert letters(store) == []
        assert ledger_size(store) == 0
        apply(store, message)
        assert len(letters(store)) == 1

    def test_a_second_delivery_keeps_no_second_one(self, store: Storage) -> None:
        message = made(append("nowhere", 1), append("nowhere", 2))
        for _ in range(2):
            assert codes(apply(store, message)) == ["not_found", "not_found"]
        assert [letter.position for letter in letters(store)] == [0, 1]
        discard(store, message.id, 0)
        apply(store, message)
        assert [letter.position for letter in letters(store)] == [1]

    @pytest.mark.parametrize(
        "operation",
        [
            b"null",
            b"7",
            b'"text"',
            b"[]",
            b"{}",
            b'{"op":"no.such"}',
            b'{"op":7,"key":{"app":"a"}}',
            b'{"op":"session.create"}',
            b'{"op":"session.create","key":null}',
            b'{"op":"session.create","key":{"app":["a"],"user":"u","session":"s"}}',
            b'{"op":"session.create","key":{"app":"","user":"u","session":"s"}}',
            b'{"op":"session.create","key":{"app":"a\\u0000","user":"u","session":"s"}}',
            b'{"op":"session.create","key":{"app":"a","user":"\\u001b[2J","session":"s"},"x":1}',
            b'{"op":"session.create","key":{"app":"a","user":"u","session":"%b"}}' % (b"s" * 9000),
            b'{"op":"session.append","key":{"app":"a","user":"u","session":"s"},"events":[1e999]}',
            b'{"op":"session.append","key":{"app":"a","user":"u","session":"s"},"events":[null]}',
            b'{"op":"session.append","key":{"app":"a","user":"u","session":"s"},"events":[{}]}',
            b'{"op":"artifact.save","key":{"app":"a","user":"u","session":"s","name":"n"}}',
            b'{"op":"dead_letter.discard","message_id":"x","position":0}',
        ],
    )
    def test_whatever_cannot_be_applied_is_kept_as_it_came(
        self, store: Storage, operation: bytes
    ) -> None:
        good = codec.encode(create("good"))
        raw = codec.encode_message(new_id(), [operation, good])
        outcomes = apply(store, codec.decode_message(raw))
        assert codes(outcomes)[1] is None
        (letter,) = letters(store)
        assert bytes(letter.body) == operation
        assert letter.code == codes(outcomes)[0]

    @pytest.mark.parametrize(
        "message_id",
        [
            "ffffffff-ffff-7fff-bfff-ffffffffffff",
            "00000000-0000-7000-8000-000000000000",
            "00000000-0000-0000-0000-000000000000",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        ],
    )
    def test_an_id_of_any_time_or_none_can_fail(self, store: Storage, message_id: str) -> None:
        assert codes(apply(store, made(append("nowhere", 1), id_=message_id))) == ["not_found"]
        (letter,) = letters(store)
        assert letter.message_id == message_id
        assert letter.issued_at <= datetime.now(timezone.utc)

    def test_a_refused_message_is_kept_once(self, store: Storage) -> None:
        kept = gate.refused({"task": "evil\x00", "id": "i", "a": "\x00"}, b"\x00\xff", "why\x00")
        for _ in range(2):
            store.keep_refused(kept)
        (letter,) = letters(store)
        assert bytes(letter.body) == b"\x00\xff"
        assert (letter.position, letter.app, letter.code) == (WHOLE_MESSAGE, "", "invalid_request")
        assert letter.error == "why\\x00"
        assert letter.operation == "evil\\x00"

    def test_a_refused_message_may_be_endless(self, store: Storage) -> None:
        body = b"x" * KEPT_BYTES
        store.keep_refused(Refused(new_id(), "t" * 999, "", "y" * 9999, "", body, 2**62))
        (letter,) = letters(store)
        assert (len(letter.body), letter.size) == (KEPT_BYTES, 2**62)
        assert len(letter.error) == 2000


class TestDiscarded:
    def test_a_client_that_has_seen_the_error_has_it_forgotten(self, store: Storage) -> None:
        message = made(append("nowhere", 1), append("nowhere", 2))
        apply(store, message)
        assert discard(store, message.id, 1) is True
        assert [letter.position for letter in letters(store)] == [0]
        assert discard(store, message.id, 1) is False
        assert discard(store, new_id(), 0) is False
        assert len(letters(store)) == 1

    def test_in_the_message_that_has_failed_itself(self, store: Storage) -> None:
        # Given a message that discards its own failure, which is not there yet,
        message_id = new_id()
        message = made(append("nowhere", 1), discard_operation(message_id, 0), id_=message_id)
        # then the failure stays.
        assert codes(apply(store, message)) == ["not_found", None]
        assert len(letters(store)) == 1

    @pytest.mark.parametrize(
        ("message_id", "position"), [("x", 0), ("", 0), ("X" * 36, 0), (f"{UUID(int=1)}", -1)]
    )
    def test_a_malformed_request_is_refused(
        self, store: Storage, message_id: str, position: int
    ) -> None:
        refuse(store, b"whole")
        outcomes = apply(store, made(discard_operation(message_id, position)))
        assert codes(outcomes) == ["invalid_request"]
        assert letters(store)[0].body == b"whole"

    def test_a_message_that_is_kept_whole_is_not_for_clients_to_discard(
        self, store: Storage
    ) -> None:
        refuse(store, b"whole")
        message_id = letters(store)[0].message_id
        apply(store, made(discard_operation(message_id, WHOLE_MESSAGE)))
        assert discard(store, message_id, 0) is False
        assert letters(store)[0].body == b"whole"


class TestCaps:
    def fill(self, store_url: str, limits: Limits) -> Storage:
        return open_store(store_url, limits=limits)

    def test_the_oldest_of_an_app_go_first_and_others_stay(
        self, store: Storage, store_url: str
    ) -> None:
        capped = open_store(store_url, limits=Limits(rows=3))
        apply(capped, made(append("s", "untouched", app="other")))
        refuse(capped, b"untouched, too")
        for number in range(10):
            apply(capped, made(append("s", number)))
        capped.close()
        kept = [codec.decode(letter.body, dict[str, Any]) for letter in letters(store)[2:]]
        assert [found["events"][0]["content"] for found in kept] == [7, 8, 9]
        assert [letter.app for letter in letters(store)] == ["other", "", "app", "app", "app"]

    def test_within_one_message_as_well(self, store: Storage, store_url: str) -> None:
        capped = open_store(store_url, limits=Limits(rows=3))
        apply(capped, made(*(append("s", number) for number in range(10))))
        capped.close()
        assert [letter.position for letter in letters(store)] == [7, 8, 9]

    def test_bytes_are_capped_and_the_newest_stays_whatever_its_size(
        self, store: Storage, store_url: str
    ) -> None:
        capped = open_store(store_url, limits=Limits(bytes=10_000))
        for size in (4000, 4000, 4000, 20_000, 100, 100):
            refuse(capped, bytes(size))
        assert [letter.size for letter in letters(store)] == [100, 100]
        refuse(capped, bytes(20_000))
        assert [letter.size for letter in letters(store)] == [20_000]
        capped.close()

    def test_what_was_not_kept_of_an_endless_one_counts_not(
        self, store: Storage, store_url: str
    ) -> None:
        capped = open_store(store_url, limits=Limits(bytes=2 * KEPT_BYTES))
        refuse(capped, b"first")
        capped.keep_refused(Refused(new_id(), "", "", "endless", "", b"x" * KEPT_BYTES, 2**40))
        capped.close()
        assert [letter.size for letter in letters(store)] == [5, 2**40]


class TestReplay:
    def test_what_succeeds_has_its_effect_and_is_gone(self, store: Storage) -> None:
        pk = in_the_way(store, "s")
        apply(store, made(create("s")))
        assert codes(replay(store, pk, MEMORY)) == [None]
        assert contents(store, "s") == ["late"]
        assert letters(store) == []
        with pytest.raises(NotFound, match=str(pk)):
            replay(store, pk, MEMORY)
        assert contents(store, "s") == ["late"]

    def test_what_fails_again_stays_and_says_so(self, store: Storage) -> None:
        apply(store, made(create("s")))
        apply(store, made(create("s")))
        (before,) = letters(store)
        for attempts in (2, 3):
            assert codes(replay(store, before.pk, MEMORY)) == [AlreadyExists.code]
            assert letters(store)[0].attempts == attempts
        apply(store, made({"op": "session.delete", "key": create("s")["key"]}))
        with store.database.write.begin() as connection:
            connection.execute(update(table).values(body=codec.encode(append("s", 1))))
        assert codes(replay(store, before.pk, MEMORY)) == [NotFound.code]
        (after,) = letters(store)
        assert (after.code, after.attempts) == (NotFound.code, 4)
        assert after.failed_at > before.failed_at
        assert (after.message_id, after.issued_at) == (before.message_id, before.issued_at)

    def test_it_does_not_come_back_with_a_late_copy_of_its_message(self, store: Storage) -> None:
        message = made(append("s", "once"))
        apply(store, message)
        apply(store, made(create("s")))
        replay(store, letters(store)[0].pk, MEMORY)
        assert codes(apply(store, message)) == ["not_found"]
        assert contents(store, "s") == ["once"]
        assert letters(store) == []

    def test_it_is_all_or_nothing(self, store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        pk = in_the_way(store, "s")
        apply(store, made(create("s")))
        forget = dead_letters.discard

        def die(*arguments: Any) -> bool:
            forget(*arguments)
            raise RuntimeError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(dead_letters, "discard", die)
            with pytest.raises(RuntimeError, match="killed"):
                replay(store, pk, MEMORY)
        assert contents(store, "s") == []
        assert [letter.pk for letter in letters(store)] == [pk]
        replay(store, pk, MEMORY)
        assert contents(store, "s") == ["late"]

    def test_a_fault_of_ours_in_it_is_a_failure_like_any_other(
        self, store: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pk = in_the_way(store, "s")
        apply(store, made(create("s")))

        def fault(*_: Any) -> list[Any]:
            raise ZeroDivisionError("a fault of ours")

        with monkeypatch.context() as patched:
            patched.setattr(session_store, "apply", fault)
            assert codes(replay(store, pk, MEMORY)) == [StorageError.code]
        assert letters(store)[0].attempts == 2
        assert codes(replay(store, pk, MEMORY)) == [None]

    def test_passing_trouble_passes(self, store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        pk = in_the_way(store, "s")
        apply(store, made(create("s")))
        alone = transaction.apply_alone
        troubles = iter([OSError(28, "no space"), OSError(28, "no space")])

        def troubled(*arguments: Any) -> Any:
            for trouble in troubles:
                raise trouble
            return alone(*arguments)

        monkeypatch.setattr(transaction, "apply_alone", troubled)
        assert codes(replay(store, pk, MEMORY)) == [None]
        assert contents(store, "s") == ["late"]

    def race(self, store_url: str, *actions: Callable[[Storage], object]) -> list[object]:
        """Run actions at the same time, each over pools of its own; returns what they return."""
        barrier = threading.Barrier(len(actions))
        stores = [open_store(store_url) for _ in actions]

        def run(action: Callable[[Storage], object], opened: Storage) -> object:
            with opened.database.read.connect():
                # The connection is there now.
                pass
            barrier.wait(10)
            try:
                return action(opened)
            except NotFound as error:
                return error

        with ThreadPoolExecutor(len(actions)) as pool:
            found = list(pool.map(run, actions, stores))
        for opened in stores:
            opened.close()
        return found

    def test_two_replays_at_the_same_time_have_one_effect(
        self, store: Storage, store_url: str
    ) -> None:
        for round_ in range(10):
            session = f"s{round_}"
            pk = in_the_way(store, session)
            apply(store, made(create(session)))
            found = self.race(store_url, *[partial(replay, pk=pk, memory=MEMORY)] * 3)
            assert sum(isinstance(result, NotFound) for result in found) == 2
            assert contents(store, session) == ["late"]
        assert letters(store) == []

    def test_a_replay_and_a_discard_at_the_same_time_agree(
        self, store: Storage, store_url: str
    ) -> None:
        for round_ in range(10):
            session = f"s{round_}"
            pk = in_the_way(store, session)
            message_id = letters(store)[-1].message_id
            apply(store, made(create(session)))
            replayed, discarded = self.race(
                store_url,
                partial(replay, pk=pk, memory=MEMORY),
                partial(discard, message_id=message_id, position=0),
            )
            assert isinstance(replayed, NotFound) is discarded
            assert contents(store, session) == ([] if discarded else ["late"])
        assert letters(store) == []


class TestReplayOfWholeMessages:
    def test_one_that_was_refused_for_its_headers_goes_through_the_ledger(
        self, store: Storage
    ) -> None:
        sent = items.message(create("s"), append("s", 1))
        pk = refuse(store, items.body(sent), eta="2099-01-01T00:00:00Z")
        assert codes(replay(store, pk, MEMORY)) == [None, None]
        assert letters(store) == []
        # A copy of it that comes later changes nothing,
        assert codes(apply(store, copy_of(sent))) == [None, None]
        assert contents(store, "s") == [1]
        # nor does the same one refused again.
        again = refuse(store, items.body(sent), eta="2099-01-01T00:00:00Z")
        assert codes(replay(store, again, MEMORY)) == [None, None]
        assert contents(store, "s") == [1]

    def test_one_that_came_again_and_was_applied_has_one_effect(self, store: Storage) -> None:
        sent = items.message(create("s"), append("s", 1))
        pk = refuse(store, items.body(sent, embed={"chain": [{"task": "evil"}]}))
        apply(store, copy_of(sent))
        assert codes(replay(store, pk, MEMORY)) == [None, None]
        assert contents(store, "s") == [1]
        assert letters(store) == []

    def test_what_fails_of_it_becomes_dead_letters_of_its_own(self, store: Storage) -> None:
        sent = items.message(create("s"), append("nowhere", 1), append("s", 2))
        pk = refuse(store, items.body(sent))
        assert codes(replay(store, pk, MEMORY)) == [None, "not_found", None]
        (letter,) = letters(store)
        assert (letter.message_id, letter.position) == (sent["id"], 1)
        assert contents(store, "s") == [2]

    def test_another_message_under_a_used_id_stays(self, store: Storage) -> None:
        sent = items.message(create("s"))
        apply(store, codec.decode_message(codec.encode(sent)))
        pk = refuse(store, items.body(sent | {"operations": [create("other")]}))
        assert codes(replay(store, pk, MEMORY)) == ["conflict"]
        assert [letter.code for letter in letters(store)] == ["conflict"]

    def test_one_that_its_task_could_not_read_is_replayed_from_the_message_itself(
        self, store: Storage
    ) -> None:
        pk = refuse(store, codec.encode(items.message(create("s"))))
        assert codes(replay(store, pk, MEMORY)) == [None]
        assert contents(store, "s") == []

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"garbage",
            b"\x1f\x8b",
            b"[]",
            b"[1,2,3]",
            b"[[],{},{}]",
            b"[[1],{},{}]",
            b"[[1,2],{},{}]",
            b'[["\xff"],{},{}]',
            b"[" * 100_000,
            b'[[{"version":99,"id":"x","operations":[]}],{},{}]',
            items.body(items.message(create("s")))[:-20],
        ],
    )
    def test_what_is_no_message_stays_and_says_why(self, store: Storage, content: bytes) -> None:
        pk = refuse(store, content)
        with pytest.raises(InvalidRequest, match=r"no message .* \(.+\)"):
            replay(store, pk, MEMORY)
        assert [bytes(letter.body) for letter in letters(store)] == [content]

    def test_a_query_is_no_message(self, store: Storage) -> None:
        query = {"version": 1, "query": {"op": "status", "message_ids": []}}
        pk = refuse(store, items.body(query), task=codec.READ_TASK)
        with pytest.raises(InvalidRequest, match="no message"):
            replay(store, pk, MEMORY)

    def test_one_older_than_the_ledger_is_not_risked(self, store: Storage) -> None:
        sent = items.message(create("s"))
        pk = refuse(store, items.body(sent))
        now = datetime.now(timezone.utc)
        with store.database.write.begin() as connection:
            connection.execute(update(table).values(issued_at=now - MEMORY - timedelta(hours=1)))
        with pytest.raises(InvalidRequest, match="30 days"):
            replay(store, pk, MEMORY)
        assert len(letters(store)) == 1
        assert ledger_size(store) == 0

    def test_an_old_operation_is_its_own_guard(self, store: Storage) -> None:
        pk = in_the_way(store, "s")
        apply(store, made(create("s")))
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
        with store.database.write.begin() as connection:
            connection.execute(update(table).values(issued_at=long_ago))
        assert codes(replay(store, pk, MEMORY)) == [None]


class TestReplayOfSaves:
    DATA = b"staged" * 1000

    def save(self) -> dict[str, Any]:
        return {
            "op": "artifact.save",
            "key": {"app": "app", "user": "user", "session": "session", "name": "a"},
            "mime_type": "x/y",
            "blob": {"sha256": hashlib.sha256(self.DATA).hexdigest(), "size": len(self.DATA)},
        }

    def test_bytes_that_are_gone_are_named(self, store: Storage) -> None:
        pk = refuse(store, items.body(items.message(self.save())))
        with pytest.raises(Unavailable, match="neither staged nor") as refused:
            replay(store, pk, MEMORY)
        assert self.save()["blob"]["sha256"] in refused.value.message
        assert len(letters(store)) == 1
        assert ledger_size(store) == 0

    def test_bytes_that_are_there_are_saved(self, store: Storage, store_url: str) -> None:
        pk = refuse(store, items.body(items.message(self.save(), self.save())))
        staging = artifacts.StagedBytes({self.save()["blob"]["sha256"]: [self.DATA]})
        staged = open_store(store_url, staging=staging)
        assert codes(replay(staged, pk, MEMORY)) == [None, None]
        assert artifacts.load(staged, "a") == self.DATA
        staged.close()
        assert letters(store) == []
