"""Lets reads wait for the writes that were issued before them. Pure: no I/O, no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from api_client.contract.ordering import OrderingKey


class Fences:
    """Callbacks that wait until given entries of given ordering keys have been confirmed."""

    def __init__(self) -> None:
        #: The fences on each key; the values mean nothing, a dict keeps the order.
        self._waiting: dict[OrderingKey, dict[Fence, None]] = {}

    def wait(self, points: Mapping[OrderingKey, int], then: Callable[[], None]) -> Fence | None:
        """Call ``then`` once each key's entries up to the given id are confirmed; at once if
        there are none, and then there is no fence to return."""
        if not points:
            then()
            return None
        fence = Fence(dict(points), then)
        for key in points:
            self._waiting.setdefault(key, {})[fence] = None
        return fence

    def drop(self, fence: Fence) -> None:
        """Forget a fence; its callback will not be called."""
        for key in fence.keys:
            self._left(key, fence)

    def passed(self, confirmed: Iterable[tuple[OrderingKey, float]]) -> None:
        """Note up to which entry each key is confirmed."""
        for key, entry_id in confirmed:
            for fence in [*self._waiting.get(key, ())]:
                if fence.passed(key, entry_id):
                    self._left(key, fence)

    def _left(self, key: OrderingKey, fence: Fence) -> None:
        fences = self._waiting[key]
        del fences[fence]
        if not fences:
            del self._waiting[key]


class Fence:
    """Something that waits; see `Fences.wait`."""

    def __init__(self, points: dict[OrderingKey, int], then: Callable[[], None]):
        self._points = points
        self._then = then

    @property
    def keys(self) -> list[OrderingKey]:
        """The keys that hold it up."""
        return [*self._points]

    def passed(self, key: OrderingKey, entry_id: float) -> bool:
        """Whether ``key`` no longer holds it up, its entries up to ``entry_id`` being confirmed."""
        if self._points[key] > entry_id:
            return False
        del self._points[key]
        if not self._points:
            self._then()
        return True
