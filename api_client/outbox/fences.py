"""Lets reads wait for the writes that were issued before them. Pure: no I/O, no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from api_client.contract.ordering import OrderingKey


class Fences:
    """Callbacks that wait until given entries of given ordering keys have been confirmed."""

    def __init__(self) -> None:
        self._waiting: dict[OrderingKey, list[_Fence]] = {}

    def wait(self, points: Mapping[OrderingKey, int], then: Callable[[], None]) -> None:
        """Call ``then`` once each key's entries up to the given id are confirmed; at once if
        there are none."""
        if not points:
            then()
            return
        fence = _Fence(dict(points), then)
        for key in points:
            self._waiting.setdefault(key, []).append(fence)

    def passed(self, confirmed: Iterable[tuple[OrderingKey, float]]) -> None:
        """Note up to which entry each key is confirmed."""
        for key, entry_id in confirmed:
            fences = self._waiting.get(key)
            if fences is None:
                continue
            left = [fence for fence in fences if not fence.passed(key, entry_id)]
            if left:
                self._waiting[key] = left
            else:
                del self._waiting[key]

    def withdrawn(self, entry_id: int, before: Mapping[OrderingKey, int]) -> None:
        """Note an entry that will never be confirmed; what waited for it waits for the one
        before it, by key, or no longer if that is 0."""
        for key, previous in before.items():
            for fence in self._waiting.get(key, ()):
                fence.move(key, entry_id, previous)
            if not previous:
                self.passed([(key, entry_id)])


class _Fence:
    def __init__(self, points: dict[OrderingKey, int], then: Callable[[], None]):
        self._points = points
        self._then = then

    def move(self, key: OrderingKey, entry_id: int, previous: int) -> None:
        """Wait for another entry of ``key`` instead of ``entry_id``."""
        if previous and self._points.get(key) == entry_id:
            self._points[key] = previous

    def passed(self, key: OrderingKey, entry_id: float) -> bool:
        """Whether this key no longer holds the fence up."""
        if self._points.get(key, 0) > entry_id:
            return False
        if self._points.pop(key, None) is not None and not self._points:
            self._then()
        return True
