"""Which operation may leave when. Pure: no I/O, no threads; the clock is handed in.

Stop-and-wait per ordering key, pipelined across keys: no two unconfirmed messages share a key.
Operations for a busy key gather and leave together once it is free, so batches grow under load
and vanish when idle. A bounded window of unconfirmed messages limits what the broker can hold.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from api_client.contract.ordering import OrderingKey
from api_client.outbox.entries import Dispatch, Entry

#: A wait has long reached its limit when it has been doubled this often.
_MOST_DOUBLINGS = 32
#: Waiting operations that are worth another message (docs/decisions/0014).
_WORTH_A_MESSAGE = 200


@dataclass(frozen=True)
class ScheduleOptions:
    """How messages are packed and resent.

    Attributes:
        window: unconfirmed messages at a time.
        operations: at most so many in one message.
        message_bytes: a message is closed before it exceeds this, unless it holds but one.
        resend_after: seconds after the first sending until the second; each further wait is
            twice as long, and jittered.
        resend_at_most: seconds of the longest wait.
        staged_bytes: messages on their way together refer to at most so many bytes beside them,
            unless one operation alone refers to more.
        retry_after: seconds until a failed sending is tried again; doubles up to
            ``retry_at_most``.
    """

    window: int = 8
    operations: int = 500
    message_bytes: int = 1024 * 1024
    staged_bytes: int = 256 * 1024 * 1024
    resend_after: float = 5.0
    resend_at_most: float = 900.0
    retry_after: float = 0.2
    retry_at_most: float = 5.0


class Schedule:
    """The operations that wait and the messages on their way.

    Parameters:
        options: how to pack and resend.
        new_id: makes message ids.
        jitter: makes a random number from 0 to 1.

    Attributes:
        operations, bytes: of the entries that wait, so far as their bodies are there.
    """

    def __init__(
        self,
        options: ScheduleOptions,
        new_id: Callable[[], str],
        jitter: Callable[[], float] = random.random,
    ):
        self._options = options
        self._new_id = new_id
        self._jitter = jitter
        #: Entries that wait, by ordering key, in the order of issue.
        self._waiting: dict[OrderingKey, deque[Entry]] = {}
        #: Entries that may leave now, as heaps by id: those without and those with bytes beside.
        self._ready: list[tuple[int, Entry]] = []
        self._ready_staged: list[tuple[int, Entry]] = []
        #: Keys of unconfirmed messages. Those restored from several files may share some.
        self._busy: Counter[OrderingKey] = Counter()
        self._on_way: dict[str, Dispatch] = {}
        #: The last entry not yet confirmed, by ordering key.
        self._last: dict[OrderingKey, int] = {}
        self._failures: dict[str, int] = {}
        #: Entries, by id, whose bodies are still being made.
        self._unprepared: set[int] = set()
        #: Bytes that the messages on their way refer to.
        self._staged = 0
        self._expired = 0
        self.operations = 0
        self.bytes = 0

    def add(self, entry: Entry) -> None:
        """Take an entry; ids must rise. One without a body holds its place until `prepared`."""
        if not entry.body:
            self._unprepared.add(entry.id)
        first = True
        for key in entry.keys:
            if queue := self._waiting.get(key):
                first = False
                queue.append(entry)
            else:
                self._waiting[key] = deque((entry,))
            self._last[key] = entry.id
        self._count(entry, 1)
        if first:
            self._offer(entry, self._heap(entry))

    def prepared(self, entry: Entry) -> None:
        """Note that the body of an entry added before is there now."""
        self._unprepared.discard(entry.id)
        self.bytes += entry.size
        self._offer(entry, self._heap(entry))

    def withdraw(self, entries: Sequence[Entry]) -> None:
        """Drop entries that wait, because their bodies could not be made or not be recorded."""
        freed: set[OrderingKey] = set()
        ready = False
        # The last first: what could not be recorded is at the ends of its queues.
        for entry in sorted(entries, key=lambda entry: -entry.id):
            self._count(entry, -1)
            ready = ready or entry.id not in self._unprepared
            self._unprepared.discard(entry.id)
            freed.update(key for key in entry.keys if self._waiting[key][0] is entry)
            for key in entry.keys:
                _remove(self._waiting[key], entry)
        if ready:
            gone = {entry.id for entry in entries}
            self._ready = _without(self._ready, gone)
            self._ready_staged = _without(self._ready_staged, gone)
        self._release(freed)
        self._find_last(frozenset().union(*(entry.keys for entry in entries)))

    def restore(self, dispatch: Dispatch, now: float) -> None:
        """Take a message that was on its way when the outbox was closed; send it again."""
        dispatch.due = now
        self._on_way[dispatch.id] = dispatch
        self._staged += dispatch.staged_bytes
        for entry in dispatch.entries:
            for key in entry.keys:
                self._last[key] = max(entry.id, self._last.get(key, 0))
        self._busy.update(dispatch.keys)

    def pack(self) -> list[Dispatch]:
        """Form as many messages as the window and the waiting entries allow."""
        packed = []
        free = self._options.window - (len(self._on_way) - self._expired)
        for left in range(free, 0, -1):
            entries = self._gather(self._share(left))
            if not entries:
                break
            dispatch = Dispatch(self._new_id(), entries)
            self._busy.update(dispatch.keys)
            self._on_way[dispatch.id] = dispatch
            packed.append(dispatch)
        return packed

    def unpack(self, dispatches: Iterable[Dispatch]) -> None:
        """Take back messages just packed, whose packing could not be recorded."""
        entries = [entry for d in dispatches for entry in d.entries]
        for dispatch in dispatches:
            del self._on_way[dispatch.id]
            self._staged -= dispatch.staged_bytes
            self._free(dispatch.keys)
        for entry in reversed(entries):
            self._count(entry, 1)
            for key in entry.keys:
                self._waiting.setdefault(key, deque()).appendleft(entry)
        for entry in entries:
            self._offer(entry, self._heap(entry))

    def waiting(self) -> list[Entry]:
        """All entries that are not in a message yet, in the order of issue."""
        found = {entry.id: entry for queue in self._waiting.values() for entry in queue}
        return [found[entry_id] for entry_id in sorted(found)]

    def entries(self) -> list[Entry]:
        """All entries that are not confirmed yet."""
        on_way = (entry for dispatch in self._on_way.values() for entry in dispatch.entries)
        return [*on_way, *self.waiting()]

    def on_way(self) -> list[Dispatch]:
        """All messages that are not confirmed yet. Any thread may ask."""
        return list(self._on_way.values())

    def sent(self, message_id: str, now: float) -> None:
        """Note a sending that succeeded, so far as the sender can tell."""
        dispatch = self._on_way.get(message_id)
        if dispatch is None or dispatch.expired:
            return
        self._failures.pop(message_id, None)
        dispatch.attempts += 1
        dispatch.sent_at = now
        wait = self._options.resend_after * 2 ** min(dispatch.attempts - 1, _MOST_DOUBLINGS)
        dispatch.due = now + self._jittered(min(wait, self._options.resend_at_most))

    def failed(self, message_id: str, now: float) -> None:
        """Note a sending that failed; it is tried again after a pause."""
        dispatch = self._on_way.get(message_id)
        if dispatch is None or dispatch.expired:
            return
        failures = self._failures.get(message_id, 0)
        self._failures[message_id] = failures + 1
        wait = self._options.retry_after * 2 ** min(failures, _MOST_DOUBLINGS)
        dispatch.due = now + self._jittered(min(wait, self._options.retry_at_most))

    def missed(self, message_id: str, now: float) -> None:
        """Note that a worker did not find the staged bytes of a message; it is sent again."""
        dispatch = self._on_way.get(message_id)
        if dispatch is not None:
            dispatch.missed = True
            self.failed(message_id, now)

    def expire(self, dispatch: Dispatch) -> None:
        """Send a message no more, because it is too old. It no longer counts in the window, but
        holds its keys: what comes behind it must not overtake it."""
        dispatch.expired = True
        dispatch.due = float("inf")
        self._expired += 1
        self._staged -= dispatch.staged_bytes

    def size_of(self, message_id: str) -> int:
        """How many operations a message holds; 0 if it is not on its way."""
        dispatch = self._on_way.get(message_id)
        return 0 if dispatch is None else len(dispatch.entries)

    def confirm(self, message_id: str, now: float) -> Dispatch | None:
        """Forget a message whose outcomes have come; None if they had come before.

        Others that were sent before it and have no outcome yet are probably lost, and workers
        are evidently alive: those are sent again soon.
        """
        dispatch = self._on_way.pop(message_id, None)
        if dispatch is None:
            return None
        self._failures.pop(message_id, None)
        if dispatch.expired:
            self._expired -= 1
        else:
            self._staged -= dispatch.staged_bytes
        self._forget_last(dispatch.entries)
        self._free(dispatch.keys)
        self._release(dispatch.keys)
        soon = now + self._jittered(self._options.resend_after)
        for other in self._on_way.values():
            if other.due != float("inf") and other.sent_at < dispatch.sent_at:
                other.due = min(other.due, soon)
        return dispatch

    def settled(self, key: OrderingKey) -> float:
        """The place up to which all entries of ``key`` are confirmed, so far as that is known."""
        if key in self._busy:
            return 0
        waiting = self._waiting.get(key)
        return waiting[0].id - 1 if waiting else float("inf")

    def due(self, now: float) -> list[Dispatch]:
        """Messages to be sent again now. Each is then being sent until `sent` or `failed`."""
        found = [dispatch for dispatch in self._on_way.values() if dispatch.due <= now]
        for dispatch in found:
            dispatch.due = float("inf")
        return found

    def next_due(self) -> float | None:
        """When `due` will next have something to give, if ever."""
        times = [d.due for d in self._on_way.values() if d.due != float("inf")]
        return min(times, default=None)

    def pending(self) -> Mapping[OrderingKey, int]:
        """The last unconfirmed entry of every ordering key that has one."""
        return self._last

    def _share(self, messages: int) -> int:
        """How many of the entries that may leave now the next message should begin with.

        Were it all of them, that message would hold all keys, and whatever waits behind them would
        have to wait for its confirmation while workers are idle. So a long queue is spread over
        the messages that may leave, and a short one is not: small messages cost more.

        Parameters:
            messages: how many may still leave.
        """
        wanted = min(messages, max(1, self.operations // _WORTH_A_MESSAGE))
        return -(-(len(self._ready) + len(self._ready_staged)) // wanted)

    def _gather(self, beginnings: int) -> list[Entry]:
        """Take the entries of the next message out of their queues.

        Parameters:
            beginnings: how many entries at most that follow on no other one of the message.
        """
        entries: list[Entry] = []
        size = 0
        # Entries that may go with this message because it holds their predecessors.
        following: list[tuple[int, Entry]] = []
        while len(entries) < self._options.operations:
            heap = self._next_heap(following, beginnings)
            if heap is None:
                break
            entry = heap[0][1]
            if entries and size + entry.size > self._options.message_bytes:
                break
            if entries and entry.home is not entries[0].home:
                break
            heapq.heappop(heap)
            beginnings -= heap is not following
            entries.append(entry)
            size += entry.size
            self._take(entry, following)
        return entries

    def _next_heap(
        self, following: list[tuple[int, Entry]], beginnings: int
    ) -> list[tuple[int, Entry]] | None:
        """The heap with the next entry that may leave; None if there is no such entry."""
        # One that is dropped here is offered again when this message is confirmed.
        while following and not self._may_stage(following[0][1]):
            heapq.heappop(following)
        heaps = [following] if following else []
        if beginnings <= 0:
            return min(heaps, default=None)
        if self._ready:
            heaps.append(self._ready)
        if self._ready_staged and self._may_stage(self._ready_staged[0][1]):
            heaps.append(self._ready_staged)
        return min(heaps, default=None)

    def _may_stage(self, entry: Entry) -> bool:
        size = entry.staged_bytes
        return not size or not self._staged or self._staged + size <= self._options.staged_bytes

    def _take(self, entry: Entry, following: list[tuple[int, Entry]]) -> None:
        """Take ``entry`` out of its queues; what comes next there may follow it at once."""
        self._count(entry, -1)
        self._staged += entry.staged_bytes
        successors: dict[int, Entry] = {}
        for key in entry.keys:
            queue = self._waiting[key]
            queue.popleft()
            if queue:
                successors[queue[0].id] = queue[0]
            else:
                del self._waiting[key]
        for successor in successors.values():
            self._offer(successor, following)

    def _release(self, keys: Iterable[OrderingKey]) -> None:
        heads: dict[int, Entry] = {}
        for key in keys:
            queue = self._waiting.get(key)
            if queue:
                heads[queue[0].id] = queue[0]
            elif queue is not None:
                del self._waiting[key]
        for head in heads.values():
            self._offer(head, self._heap(head))

    def _offer(self, entry: Entry, heap: list[tuple[int, Entry]]) -> None:
        """Put ``entry`` on ``heap`` if it is first for all its keys and none of them is busy."""
        if entry.id in self._unprepared:
            return
        for key in entry.keys:
            if key in self._busy or self._waiting[key][0] is not entry:
                return
        heapq.heappush(heap, (entry.id, entry))

    def _heap(self, entry: Entry) -> list[tuple[int, Entry]]:
        return self._ready_staged if entry.staged_bytes else self._ready

    def _count(self, entry: Entry, sign: int) -> None:
        """Count an entry that begins (1) or ceases (-1) to wait."""
        self.operations += sign
        if entry.id not in self._unprepared:
            self.bytes += sign * entry.size

    def _find_last(self, keys: Iterable[OrderingKey]) -> None:
        """Find the last unconfirmed entry of ``keys`` anew."""
        on_way = set()
        for key in keys:
            if queue := self._waiting.get(key):
                self._last[key] = queue[-1].id
            else:
                del self._last[key]
                on_way.add(key)
        if on_way.isdisjoint(self._busy):
            return
        for dispatch in self._on_way.values():
            for entry in dispatch.entries:
                for key in entry.keys & on_way:
                    self._last[key] = max(entry.id, self._last.get(key, 0))

    def _free(self, keys: Iterable[OrderingKey]) -> None:
        self._busy.subtract(keys)
        for key in keys:
            if not self._busy[key]:
                del self._busy[key]

    def _forget_last(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            for key in entry.keys:
                if self._last.get(key) == entry.id:
                    del self._last[key]

    def _jittered(self, seconds: float) -> float:
        return seconds * (1.0 + self._jitter() / 4)


def _remove(queue: deque[Entry], entry: Entry) -> None:
    if queue[-1] is entry:
        queue.pop()
    else:
        queue.remove(entry)


def _without(heap: list[tuple[int, Entry]], gone: set[int]) -> list[tuple[int, Entry]]:
    left = [item for item in heap if item[0] not in gone]
    heapq.heapify(left)
    return left
