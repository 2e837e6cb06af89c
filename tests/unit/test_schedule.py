"""The schedule: which operation may leave when, and when a message is sent again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from api_client.contract import codec
from api_client.contract.operations import BlobReference
from api_client.contract.ordering import OrderingKey
from api_client.contract.records import new_id
from api_client.outbox.entries import Dispatch, Entry
from api_client.outbox.schedule import Schedule, ScheduleOptions
from api_client.transport.base import BlobFile

#: Jitter adds at most a quarter.
JITTER = 1.25
#: The ordering keys of an entry: one to three, so that entries meet often.
NAMES = st.sets(st.sampled_from("abc"), min_size=1)
#: What the messages of the account may together refer to.
STAGED_BYTES = 10


def keys(names: Iterable[str]) -> frozenset[OrderingKey]:
    return frozenset((name,) for name in names)


def entry(number: int, names: str, body: bytes = b"{}") -> Entry:
    """An entry with one ordering key per letter."""
    return Entry(number, keys(names), body)


def schedule(*entries: Entry, jitter: float = 0.0, **options: float) -> Schedule:
    made = Schedule(ScheduleOptions(**options), new_id, lambda: jitter)  # type: ignore[arg-type]
    for one in entries:
        made.add(one)
    return made


def blob(size: int) -> BlobFile:
    return BlobFile(Path("blob"), BlobReference("0" * 64, size))


def saving(number: int, names: str, size: int) -> Entry:
    """An entry with so many bytes beside its message."""
    return Entry(number, keys(names), b"{}", spooled=blob(size))


def ids(dispatches: Iterable[Dispatch]) -> list[list[int]]:
    return [[one.id for one in dispatch.entries] for dispatch in dispatches]


class TestPacking:
    def test_all_that_may_leave_leaves_in_one_message(self) -> None:
        made = schedule(entry(1, "a"), entry(2, "b"), entry(3, "a"), entry(4, "ab"))
        assert ids(made.pack()) == [[1, 2, 3, 4]]
        assert made.pack() == []

    def test_its_body_carries_the_operations_in_the_order_of_issue(self) -> None:
        made = schedule(entry(1, "b", b'{"n":1}'), entry(2, "a", b'{"n":2}'))
        (packed,) = made.pack()
        message = codec.decode_message(packed.body)
        assert message.id == packed.id
        assert [bytes(raw) for raw in message.operations] == [b'{"n":1}', b'{"n":2}']

    def test_what_shares_a_key_with_an_unconfirmed_message_waits_and_then_leaves_together(
        self,
    ) -> None:
        made = schedule(entry(1, "a"))
        (first,) = made.pack()
        for number in (2, 3, 4):
            made.add(entry(number, "a"))
        assert made.pack() == []
        assert [one.id for one in made.waiting()] == [2, 3, 4]

        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[2, 3, 4]]

    def test_other_keys_do_not_wait(self) -> None:
        made = schedule(entry(1, "a"))
        made.pack()
        made.add(entry(2, "a"))
        made.add(entry(3, "b"))
        assert ids(made.pack()) == [[3]]

    def test_an_entry_of_two_keys_waits_for_both_and_what_follows_waits_for_it(self) -> None:
        made = schedule(entry(1, "a"))
        (on_a,) = made.pack()
        made.add(entry(2, "b"))
        (on_b,) = made.pack()
        made.add(entry(3, "ab"))
        made.add(entry(4, "b"))

        made.confirm(on_b.id, now=0)
        assert made.pack() == [], "3 waits for a, and 4 must not overtake it"
        made.confirm(on_a.id, now=0)
        assert ids(made.pack()) == [[3, 4]]

    def test_the_window_bounds_what_is_unconfirmed(self) -> None:
        made = schedule(*(entry(n, chr(96 + n)) for n in range(1, 6)), window=2, operations=1)
        first, second = made.pack()
        assert ids([first, second]) == [[1], [2]]
        assert len(made.on_way()) == 2
        made.confirm(second.id, now=0)
        assert ids(made.pack()) == [[3]]

    def test_a_message_is_closed_at_its_limit_of_operations(self) -> None:
        made = schedule(*(entry(n, "a") for n in range(1, 6)), operations=2)
        (first,) = made.pack()
        assert ids([first]) == [[1, 2]]
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[3, 4]]

    def test_a_message_is_closed_before_it_exceeds_its_bytes(self) -> None:
        made = schedule(entry(1, "a", b"x" * 6), entry(2, "a", b"x" * 4), message_bytes=10)
        assert ids(made.pack()) == [[1, 2]]
        made = schedule(entry(1, "a", b"x" * 6), entry(2, "b", b"x" * 5), message_bytes=10)
        assert ids(made.pack()) == [[1], [2]]

    def test_an_entry_larger_than_that_travels_alone(self) -> None:
        made = schedule(entry(1, "a", b"x" * 99), entry(2, "a"), message_bytes=10)
        (first,) = made.pack()
        assert ids([first]) == [[1]]
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[2]]

    def test_a_confirmation_counts_once(self) -> None:
        made = schedule(entry(1, "a"))
        (first,) = made.pack()
        assert made.confirm(first.id, now=0) is first
        assert made.confirm(first.id, now=0) is None
        assert made.confirm(new_id(), now=0) is None


class TestBytesBesideMessages:
    def test_messages_on_their_way_refer_to_no_more_than_is_allowed(self) -> None:
        made = schedule(
            *(saving(n, chr(96 + n), 4) for n in range(1, 5)), staged_bytes=10, operations=1
        )
        first, second = made.pack()
        assert ids([first, second]) == [[1], [2]]
        made.confirm(second.id, now=0)
        assert ids(made.pack()) == [[3]]

    def test_one_message_refers_to_no_more_either(self) -> None:
        made = schedule(saving(1, "a", 6), saving(2, "a", 6), staged_bytes=10)
        (first,) = made.pack()
        assert ids([first]) == [[1]]
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[2]]

    def test_one_that_alone_exceeds_it_leaves_when_no_other_is_on_its_way(self) -> None:
        made = schedule(saving(1, "a", 1), saving(2, "b", 99), staged_bytes=10)
        (first,) = made.pack()
        assert ids([first]) == [[1]]
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[2]]

    def test_operations_without_such_bytes_do_not_wait_for_them(self) -> None:
        made = schedule(saving(1, "a", 8), saving(2, "b", 8), entry(3, "c"), staged_bytes=10)
        assert ids(made.pack()) == [[1, 3]]

    def test_what_follows_one_that_waits_stays_behind_it(self) -> None:
        made = schedule(
            entry(1, "a"), saving(2, "b", 8), saving(3, "a", 8), entry(4, "a"), staged_bytes=10
        )
        (first,) = made.pack()
        assert ids([first]) == [[1, 2]]
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[3, 4]]

    def test_what_is_taken_back_or_restored_counts_like_the_rest(self) -> None:
        made = schedule(saving(1, "a", 8), staged_bytes=10)
        made.unpack(made.pack())
        (first,) = made.pack()
        again = schedule(saving(2, "b", 8), staged_bytes=10)
        again.restore(first, now=0)
        assert again.pack() == []
        again.confirm(first.id, now=0)
        assert ids(again.pack()) == [[2]]


class TestEntriesWithoutBody:
    def test_one_holds_its_place(self) -> None:
        saving = entry(1, "a", b"")
        made = schedule(saving, entry(2, "a"), entry(3, "b"))
        (other,) = made.pack()
        assert ids([other]) == [[3]]

        saving.body = b"{}"
        made.prepared(saving)
        assert ids(made.pack()) == [[1, 2]]

    def test_one_prepared_behind_an_unconfirmed_message_waits_for_it(self) -> None:
        saving = entry(2, "a", b"")
        made = schedule(entry(1, "a"), saving)
        (first,) = made.pack()
        saving.body = b"{}"
        made.prepared(saving)
        assert made.pack() == []
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[2]]

    def test_one_does_not_leave_before_it_is_noted_though_its_body_is_there(self) -> None:
        # Another thread makes the body. Until the pump has noted it, the entry is not in the
        # journal: sent now, it would be recorded later as one that was never sent.
        saving = entry(2, "a", b"")
        made = schedule(entry(1, "a"), saving)
        (first,) = made.pack()
        saving.body = b"{}"
        made.confirm(first.id, now=0)
        assert made.pack() == []
        made.prepared(saving)
        assert ids(made.pack()) == [[2]]

    def test_a_withdrawn_one_lets_the_next_pass(self) -> None:
        saving = entry(1, "ab", b"")
        made = schedule(saving, entry(2, "a"), entry(3, "b"))
        made.withdraw([saving])
        assert ids(made.pack()) == [[2, 3]]

    def test_a_withdrawn_one_in_the_middle_changes_nothing_before_it(self) -> None:
        saving = entry(2, "a", b"")
        made = schedule(entry(1, "a"), saving, entry(3, "a"))
        (first,) = made.pack()
        made.withdraw([saving])
        assert made.pack() == []
        made.confirm(first.id, now=0)
        assert ids(made.pack()) == [[3]]


class TestFailedRecording:
    """The journal could not be written: messages just packed go back, new entries are refused."""

    def test_what_is_taken_back_leaves_again_in_order(self) -> None:
        made = schedule(entry(1, "a"), entry(2, "b"), entry(3, "ab"), entry(4, "c"), operations=3)
        packed = made.pack()
        assert ids(packed) == [[1, 2, 3], [4]]
        made.unpack(packed)
        assert [one.id for one in made.waiting()] == [1, 2, 3, 4]
        assert len(made.on_way()) == 0
        assert ids(made.pack()) == [[1, 2, 3], [4]]

    def test_a_refused_entry_never_leaves(self) -> None:
        refused = entry(1, "a")
        made = schedule(refused)
        made.unpack(made.pack())
        made.withdraw([refused])
        made.add(entry(2, "a"))
        assert ids(made.pack()) == [[2]]
        assert made.waiting() == []

    def test_entries_refused_one_by_one_free_what_was_there_before(self) -> None:
        kept, refused, refused_too = entry(1, "a"), entry(2, "a"), entry(3, "ab")
        made = schedule(kept, refused, refused_too)
        made.unpack(made.pack())
        made.withdraw([refused, refused_too])
        assert ids(made.pack()) == [[1]]


class TestRestart:
    def test_a_message_on_its_way_is_sent_again_at_once_and_holds_its_keys(self) -> None:
        made = schedule()
        restored = Dispatch(new_id(), [entry(1, "a")])
        made.restore(restored, now=5)
        made.add(entry(2, "a"))
        assert made.due(5) == [restored]
        assert made.pack() == []
        made.confirm(restored.id, now=6)
        assert ids(made.pack()) == [[2]]

    def test_restored_messages_may_exceed_the_window_but_no_new_one_joins_them(self) -> None:
        made = schedule(window=1)
        for number, name in ((1, "a"), (2, "b")):
            made.restore(Dispatch(new_id(), [entry(number, name)]), now=0)
        made.add(entry(3, "c"))
        assert len(made.on_way()) == 2
        assert made.pack() == []


class TestPending:
    def test_it_names_the_last_unconfirmed_entry_of_each_key(self) -> None:
        made = schedule(entry(1, "a"), entry(2, "ab"))
        (first,) = made.pack()
        made.add(entry(3, "b"))
        assert made.pending() == {("a",): 2, ("b",): 3}
        made.confirm(first.id, now=0)
        assert made.pending() == {("b",): 3}

    def test_it_names_the_one_before_after_a_withdrawal(self) -> None:
        saving = entry(2, "ab", b"")
        made = schedule(entry(1, "a"), saving)
        made.pack()
        made.withdraw([saving])
        assert made.pending() == {("a",): 1}


class TestResending:
    def sent(self, made: Schedule, times: int) -> list[float]:
        """The waits after each of so many sendings without an answer."""
        (packed,) = made.pack()
        waits = []
        now = 100.0
        for _ in range(times):
            made.sent(packed.id, now)
            waits.append(packed.due - now)
            now = packed.due
            assert made.due(now) == [packed]
        return waits

    def test_waits_double_up_to_a_limit(self) -> None:
        made = schedule(entry(1, "a"), resend_after=5, resend_at_most=30)
        assert self.sent(made, 5) == [5, 10, 20, 30, 30]

    def test_waits_are_jittered_by_up_to_a_quarter(self) -> None:
        made = schedule(entry(1, "a"), jitter=1.0, resend_after=4, resend_at_most=16)
        assert self.sent(made, 4) == [5, 10, 20, 20]

    def test_waits_stay_bounded_however_often_it_is_sent(self) -> None:
        # A message that workers cannot apply is hastened by every other one that they can.
        made = schedule(entry(1, "a"))
        assert self.sent(made, 1100)[-1] == ScheduleOptions().resend_at_most

    def test_an_hour_without_workers_leaves_a_handful_of_copies(self) -> None:
        made = schedule(entry(1, "a"))
        waits = self.sent(made, 20)
        copies = sum(1 for n in range(20) if sum(waits[:n]) < 3600)
        assert copies <= 12

    def test_a_failed_sending_is_tried_again_soon_and_then_later(self) -> None:
        made = schedule(entry(1, "a"), retry_after=0.5, retry_at_most=3)
        (packed,) = made.pack()
        waits = []
        for _ in range(50):
            made.failed(packed.id, 0)
            waits.append(packed.due)
            made.due(packed.due)
        assert waits == [0.5, 1, 2, *[3] * 47]

    def test_bytes_that_a_worker_missed_are_staged_and_sent_again_soon(self) -> None:
        made = schedule(entry(1, "a"), retry_after=0.5)
        (packed,) = made.pack()
        made.sent(packed.id, 0)
        assert not packed.missed
        made.missed(packed.id, 1)
        made.missed(new_id(), 1)
        assert packed.missed
        assert packed.due == 1.5

    def test_a_success_ends_the_count_of_failures(self) -> None:
        made = schedule(entry(1, "a"), retry_after=0.5)
        (packed,) = made.pack()
        for _ in range(3):
            made.failed(packed.id, 0)
        made.sent(packed.id, 0)
        made.failed(packed.id, 0)
        assert packed.due == 0.5

    def test_what_is_being_sent_is_not_due(self) -> None:
        made = schedule(entry(1, "a"))
        (packed,) = made.pack()
        assert made.next_due() is None
        assert made.due(1e12) == []
        made.sent(packed.id, 0)
        assert made.due(1e12) == [packed]
        assert made.due(1e12) == []
        assert made.next_due() is None

    def test_next_due_is_the_earliest(self) -> None:
        made = schedule(entry(1, "a"), entry(2, "b"), operations=1, resend_after=5)
        first, second = made.pack()
        made.sent(first.id, now=10)
        made.sent(second.id, now=3)
        assert made.next_due() == 8
        assert made.due(8) == [second]
        assert made.next_due() == 15

    def test_a_confirmation_hastens_those_that_have_long_to_wait(self) -> None:
        made = schedule(*(entry(n, "_abcd"[n]) for n in range(1, 5)), operations=1)
        answered, patient, soon, sending = made.pack()
        for _ in range(6):
            made.sent(patient.id, now=0)
        made.sent(soon.id, now=0)
        assert patient.due == 160

        made.confirm(answered.id, now=1)
        assert patient.due == 6
        assert soon.due == 5, "it is not put off"
        assert sending.due == math.inf, "it is not sent twice at once"

    @pytest.mark.parametrize("note", ["sent", "failed"])
    def test_news_of_a_confirmed_message_are_ignored(self, note: str) -> None:
        made = schedule(entry(1, "a"))
        (packed,) = made.pack()
        made.confirm(packed.id, now=0)
        getattr(made, note)(packed.id, 1)
        assert made.next_due() is None
        assert made.due(1e12) == []


class ScheduleMachine(RuleBasedStateMachine):
    """The schedule beside a plain account of what was issued, packed, sent and confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.now = 0.0
        #: All that is issued and neither confirmed nor refused, by id.
        self.live: dict[int, Entry] = {}
        #: Those of which the schedule knows that their body is there.
        self.noted: set[int] = set()
        #: Those added since the journal was last written.
        self.fresh: list[Entry] = []
        self.on_way: dict[str, Dispatch] = {}
        self.sending: set[str] = set()

    @initialize(
        window=st.integers(1, 3), operations=st.integers(1, 4), message_bytes=st.integers(5, 30)
    )
    def begin(self, window: int, operations: int, message_bytes: int) -> None:
        self.options = ScheduleOptions(
            window=window,
            operations=operations,
            message_bytes=message_bytes,
            staged_bytes=STAGED_BYTES,
        )
        self.schedule = Schedule(self.options, new_id)

    # What happens

    @rule(names=NAMES, size=st.integers(1, 12))
    def issue(self, names: set[str], size: int) -> None:
        one = self.added(names, b"x" * size)
        self.noted.add(one.id)
        self.fresh.append(one)

    @rule(names=NAMES)
    def issue_without_body(self, names: set[str]) -> None:
        self.added(names, b"")

    @precondition(lambda self: self.unprepared())
    @rule(pick=st.integers(0), size=st.integers(1, 12))
    def body_is_made(self, pick: int, size: int) -> None:
        one = self.picked(self.unprepared(), pick)
        one.body = one.body or b"x" * size

    @precondition(lambda self: self.unprepared())
    @rule(pick=st.integers(0), staged=st.integers(1, 2 * STAGED_BYTES))
    def body_is_noted(self, pick: int, staged: int) -> None:
        one = self.picked(self.unprepared(), pick)
        one.body = one.body or b"x"
        one.spooled = blob(staged)
        self.schedule.prepared(one)
        self.noted.add(one.id)
        self.fresh.append(one)

    @precondition(lambda self: self.unprepared())
    @rule(pick=st.integers(0))
    def body_cannot_be_made(self, pick: int) -> None:
        one = self.picked(self.unprepared(), pick)
        self.schedule.withdraw([one])
        del self.live[one.id]

    @rule()
    def turn(self) -> None:
        for dispatch in self.pack():
            self.on_way[dispatch.id] = dispatch
            self.sending.add(dispatch.id)
        self.fresh.clear()
        if len(self.on_way) < self.options.window:
            assert not any(map(self.may_be_staged, self.eligible())), (
                "none is held back for nothing"
            )

    @rule()
    def turn_that_cannot_be_recorded(self) -> None:
        self.schedule.unpack(self.pack())
        self.schedule.withdraw(self.fresh)
        for one in self.fresh:
            del self.live[one.id]
            self.noted.discard(one.id)
        self.fresh.clear()

    @precondition(lambda self: self.sending)
    @rule(pick=st.integers(0), arrives=st.booleans())
    def sending_ends(self, pick: int, arrives: bool) -> None:
        message = sorted(self.sending)[pick % len(self.sending)]
        note = self.schedule.sent if arrives else self.schedule.failed
        note(message, self.now)
        self.sending.discard(message)
        most = self.options.resend_at_most if arrives else self.options.retry_at_most
        assert self.now < self.on_way[message].due <= self.now + most * JITTER

    @precondition(lambda self: self.on_way)
    @rule(pick=st.integers(0))
    def reply_comes(self, pick: int) -> None:
        message = sorted(self.on_way)[pick % len(self.on_way)]
        dispatch = self.on_way.pop(message)
        assert self.schedule.confirm(message, self.now) is dispatch
        assert self.schedule.confirm(message, self.now) is None
        self.sending.discard(message)
        for one in dispatch.entries:
            del self.live[one.id]
        latest = self.now + self.options.resend_after * JITTER
        assert all(d.due <= latest for d in self.on_way.values() if d.due != math.inf)

    @rule(seconds=st.floats(0, 2000))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        expected = {m for m, d in self.on_way.items() if d.due <= self.now}
        found = {dispatch.id for dispatch in self.schedule.due(self.now)}
        assert found == expected
        assert found.isdisjoint(self.sending)
        self.sending |= found

    @rule()
    def restart(self) -> None:
        """Another process goes on with what the journal holds."""
        lost = {one.id for one in self.fresh} | {one.id for one in self.unprepared()}
        packed = {one.id for d in self.on_way.values() for one in d.entries}
        self.live = {id_: one for id_, one in self.live.items() if id_ not in lost}
        self.fresh.clear()
        self.schedule = Schedule(self.options, new_id)
        for dispatch in self.on_way.values():
            self.schedule.restore(dispatch, self.now)
        self.sending.clear()
        for id_, one in sorted(self.live.items()):
            if id_ not in packed:
                self.schedule.add(one)

    # What must hold

    @invariant()
    def no_two_unconfirmed_messages_share_a_key(self) -> None:
        claimed: set[OrderingKey] = set()
        for dispatch in self.on_way.values():
            own = frozenset().union(*(one.keys for one in dispatch.entries))
            assert claimed.isdisjoint(own)
            claimed |= own

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        packed = [one for d in self.on_way.values() for one in d.entries]
        waiting = self.schedule.waiting()
        assert sorted(one.id for one in packed + waiting) == sorted(self.live)
        assert {d.id for d in self.schedule.on_way()} == set(self.on_way)

    @invariant()
    def what_waits_is_counted(self) -> None:
        waiting = self.schedule.waiting()
        assert self.schedule.operations == len(waiting)
        assert self.schedule.bytes == sum(one.size for one in waiting if one.id in self.noted)

    @invariant()
    def bytes_beside_messages_are_bounded(self) -> None:
        sizes = [one.staged_bytes for d in self.on_way.values() for one in d.entries]
        assert sum(sizes) <= STAGED_BYTES or sum(map(bool, sizes)) == 1

    @invariant()
    def the_last_of_each_key_is_known(self) -> None:
        last: dict[OrderingKey, int] = {}
        for id_, one in sorted(self.live.items()):
            last |= dict.fromkeys(one.keys, id_)
        assert self.schedule.pending() == last

    @invariant()
    def the_next_due_is_known(self) -> None:
        times = [d.due for d in self.on_way.values() if d.id not in self.sending]
        assert self.schedule.next_due() == min(times, default=None)

    # Helpers

    def pack(self) -> list[Dispatch]:
        room = max(0, self.options.window - len(self.on_way))
        packed = self.schedule.pack()
        assert len(packed) <= room
        for dispatch in packed:
            numbers = [one.id for one in dispatch.entries]
            assert numbers == sorted(set(numbers))
            assert 1 <= len(numbers) <= self.options.operations
            size = sum(one.size for one in dispatch.entries)
            assert size <= self.options.message_bytes or len(numbers) == 1
            assert self.noted.issuperset(numbers), "only what is recorded with it may be sent"
            for one in dispatch.entries:
                assert not self.predecessors(one) - set(numbers), "nothing overtakes"
        return packed

    def added(self, names: set[str], body: bytes) -> Entry:
        one = Entry(next(self.numbers), keys(names), body)
        self.schedule.add(one)
        self.live[one.id] = one
        return one

    def predecessors(self, one: Entry) -> set[int]:
        return {id_ for id_, e in self.live.items() if id_ < one.id and e.keys & one.keys}

    def unprepared(self) -> list[Entry]:
        return [one for id_, one in sorted(self.live.items()) if id_ not in self.noted]

    def eligible(self) -> list[Entry]:
        """What could leave now: noted, first of all its keys, and none of them on its way. Of
        those with bytes beside, the first: the others wait for it."""
        found = [
            one
            for id_, one in sorted(self.live.items())
            if id_ in self.noted and not self.held_back(one)
        ]
        staged = [one for one in found if one.staged_bytes]
        return [one for one in found if not one.staged_bytes] + staged[:1]

    def may_be_staged(self, one: Entry) -> bool:
        on_way = sum(dispatch.staged_bytes for dispatch in self.on_way.values())
        return not one.staged_bytes or not on_way or on_way + one.staged_bytes <= STAGED_BYTES

    def held_back(self, one: Entry) -> bool:
        on_way = any(one is other for d in self.on_way.values() for other in d.entries)
        return on_way or bool(self.predecessors(one))

    @staticmethod
    def picked(entries: list[Entry], pick: int) -> Entry:
        return entries[pick % len(entries)]


TestScheduleAgainstAccount = ScheduleMachine.TestCase
TestScheduleAgainstAccount.settings = settings(
    deadline=None,
    print_blob=True,
    derandomize=False,
    max_examples=150,
    stateful_step_count=50,
)
