"""Waiting for this client's own writes, wherever they are: in the schedule or the backlog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from api_client.contract.ordering import OrderingKey
from api_client.outbox.backlog import Backlog, Mark
from api_client.outbox.fences import Fence, Fences
from api_client.outbox.schedule import Schedule

#: Picks, of the last unconfirmed entries of all ordering keys, those to wait for.
PickWrites = Callable[[Mapping[OrderingKey, int]], dict[OrderingKey, int]]


class Wait:
    """Something that waits for writes: for those in the backlog to be taken, and then for some
    to be confirmed."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.fence: Fence | None = None


class PendingWrites:
    """The writes that have no outcome yet. Used by the pump's turns only.

    Parameters:
        schedule, backlog: where they are.
    """

    def __init__(self, schedule: Schedule, backlog: Backlog):
        self._schedule = schedule
        self._backlog = backlog
        self._fences = Fences()

    def wait(self, pick: PickWrites, then: Callable[[], None]) -> Wait:
        """Call ``then`` once those that ``pick`` picks of the writes taken so far are confirmed;
        at once if there are none.

        The ordering keys of what is in the backlog are not known. So if there is anything in it,
        the picking is put off until all that is there now has been taken.
        """
        wait = Wait()
        wait.mark = self._backlog.wait(partial(self._taken, wait, pick, then))
        return wait

    def drop(self, wait: Wait) -> None:
        """Forget a wait; its callback will not be called."""
        if wait.mark is not None:
            self._backlog.drop(wait.mark)
        if wait.fence is not None:
            self._fences.drop(wait.fence)

    def settled(self, keys: Iterable[OrderingKey]) -> None:
        """Note that entries of these keys have left the schedule."""
        self._fences.passed((key, self._schedule.settled(key)) for key in keys)

    def _taken(self, wait: Wait, pick: PickWrites, then: Callable[[], None]) -> None:
        wait.mark = None
        wait.fence = self._fences.wait(pick(self._schedule.pending()), then)
