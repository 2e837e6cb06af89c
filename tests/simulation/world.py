"""Runs one schedule: what happens next is decided by bytes, then everything heals."""

from __future__ import annotations

from collections.abc import Callable

from api_client.contract.keys import SessionKey
from tests.simulation.broker import Broker
from tests.simulation.check import Violation, check
from tests.simulation.choices import Choices
from tests.simulation.client import Clock, SimulatedClient

_SESSIONS = tuple(SessionKey("app", "user", name) for name in "abc")
#: Rounds of healing; far more than anything here needs.
_PATIENCE = 400


class World:
    """Clients, broker and clock.

    Parameters:
        source: decides everything.
    """

    def __init__(self, source: bytes):
        self._choices = Choices(source)
        self._clock = Clock()
        self.broker = Broker()
        count = 1 + self._choices.below(2)
        self.clients = [SimulatedClient(f"c{n}", self.broker, self._clock) for n in range(count)]
        self._actions: tuple[Callable[[], None], ...] = (
            self._turn, self._turn, self._turn, self._append, self._append, self._append,
            self._append, self._run, self._run, self._work, self._work, self._hand_out,
            self._hand_out, self._wait, self._load, self._answer, self._create, self._lose,
            self._lose_reply, self._repeat, self._repeat_reply, self._kill, self._disk,
            self._broker,
        )  # fmt: skip

    def run(self) -> None:
        """Run the schedule and check what is left.

        Raises:
            Violation: something was lost, doubled, reordered, or never ended.
        """
        for key in _SESSIONS[:2]:
            self.clients[0].create(key)
        while not self._choices.ended:
            self._choices.among(self._actions)()
        self._heal()
        self._check()

    # What may happen

    def _client(self) -> SimulatedClient:
        return self._choices.among(self.clients)

    def _turn(self) -> None:
        self._client().loop.turn()

    def _append(self) -> None:
        client = self._client()
        choice = self._choices.below(8)
        client.append(_SESSIONS[choice % 3], "app:x" if choice > 5 else None)

    def _create(self) -> None:
        self._client().create(_SESSIONS[2])

    def _load(self) -> None:
        self._client().load(self._choices.among(_SESSIONS))

    def _run(self) -> None:
        self._client().loop.run_one()

    def _work(self) -> None:
        if self.broker.queue:
            self.broker.work(self._choices.below(len(self.broker.queue)), again=False)

    def _repeat(self) -> None:
        if self.broker.queue:
            self.broker.work(self._choices.below(len(self.broker.queue)), again=True)

    def _lose(self) -> None:
        if self.broker.queue:
            del self.broker.queue[self._choices.below(len(self.broker.queue))]

    def _answer(self) -> None:
        if self.broker.queries:
            self.broker.answer(self._choices.below(len(self.broker.queries)))

    def _hand_out(self) -> None:
        if self.broker.replies:
            self.broker.hand_out(self._choices.below(len(self.broker.replies)), again=False)

    def _repeat_reply(self) -> None:
        if self.broker.replies:
            self.broker.hand_out(self._choices.below(len(self.broker.replies)), again=True)

    def _lose_reply(self) -> None:
        if self.broker.replies:
            del self.broker.replies[self._choices.below(len(self.broker.replies))]

    def _wait(self) -> None:
        self._clock.now += (0.1, 1.0, 6.0, 60.0)[self._choices.below(4)]

    def _kill(self) -> None:
        self._client().kill()

    def _disk(self) -> None:
        disk = self._client().disk
        disk.full = not disk.full

    def _broker(self) -> None:
        self.broker.down = not self.broker.down

    # How it ends

    def _heal(self) -> None:
        self.broker.down = False
        for client in self.clients:
            client.disk.full = False
        for _ in range(_PATIENCE):
            self._settle()
            if self._idle():
                return
            self._clock.now += 5.0
        raise Violation(f"{[client.pending for client in self.clients]} operations never ended")

    def _settle(self) -> None:
        for client in self.clients:
            client.loop.turn()
            while client.loop.run_one():
                pass
        while self.broker.queue:
            self.broker.work(0, again=False)
        while self.broker.queries:
            self.broker.answer(0)
        while self.broker.replies:
            self.broker.hand_out(0, again=False)

    def _idle(self) -> bool:
        return not any(client.waits for client in self.clients)

    def _check(self) -> None:
        for client in self.clients:
            client.loop.turn()
            while client.loop.run_one():
                client.loop.turn()
        check(self.clients, self.broker.store)
