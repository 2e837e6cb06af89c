"""The seeded workload of one client: operations whose combined effect can be worked out.

Each state key has one writer, each update leaves a mark, each event and each saved version names
its operation. So the database alone tells which operations were applied, and a replay of those in
the order of issue tells what every state key must be.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from api_client.contract.limits import MAX_INLINE_BYTES
from tests.faults.operations import (
    LIFE,
    MARK,
    Change,
    Kind,
    Operation,
    SessionId,
)

APPS = ("shop", "desk")
_OWN_SESSIONS = 5
_SHARED_SESSIONS = 2
_ARTIFACTS = 3
_STATE_KEYS = 6
#: A revision that no session of a run ever has.
_STALE_REVISION = 10**9


@dataclass(frozen=True)
class Mix:
    """How often each kind of operation is issued, relative to the others."""

    append: float = 60
    append_many: float = 12
    update: float = 8
    save_small: float = 6
    save_large: float = 0.7
    fail: float = 4
    short_lived: float = 6
    compare_and_set: float = 3
    #: Share of appends that go to sessions which all clients share.
    shared: float = 0.25


MIXES = {
    "all": Mix(),
    # What two clients do to one session when only its row lock keeps them apart.
    "shared": Mix(30, 0, 40, 15, 0, 0, 0, 0, shared=1.0),
    "artifacts": Mix(20, 0, 10, 50, 4, 0, 5, 0),
    "appends": Mix(60, 10, 20, 0, 0, 0, 0, 0, shared=0.0),
}


@dataclass
class _ShortLived:
    key: SessionId
    deleted: bool = False


@dataclass
class Workload:
    """Makes the operations of one life of a client.

    Parameters:
        client: its name, a letter and a number.
        life: how many times it was started before.
        seed: of the whole run.
        mix: how often each kind is issued.
    """

    client: str
    life: int
    seed: int
    mix: Mix = field(default_factory=Mix)

    def __post_init__(self) -> None:
        self._dice = random.Random(f"{self.seed}/{self.client}/{self.life}")
        self._ordinal = (self.life + 1) * LIFE
        users = [f"{self.client}-user{n}" for n in range(2)]
        self.own = [
            (APPS[n % 2], users[n % len(users)], f"{self.client}-s{n}")
            for n in range(_OWN_SESSIONS)
        ]
        self.shared = [(APPS[n % 2], "all", f"shared{n}") for n in range(_SHARED_SESSIONS)]
        self.counted: SessionId = (APPS[0], users[0], f"{self.client}-counted")
        self._short: list[_ShortLived] = []
        #: The revision that ``counted`` is at, as far as the client was told.
        self.revision: int | None = None
        self._counting = False
        self._makers: list[tuple[Callable[[], Operation], float]] = [
            (self._append, self.mix.append),
            (self._append_many, self.mix.append_many),
            (self._update, self.mix.update),
            (self._save_small, self.mix.save_small),
            (self._save_large, self.mix.save_large),
            (self._fail, self.mix.fail),
            (self._short_lived, self.mix.short_lived),
            (self._compare_and_set, self.mix.compare_and_set),
        ]

    def creations(self) -> list[Operation]:
        """The creations that everything else builds on; each life begins with them."""
        keys = [*self.own, *self.shared, self.counted]
        return [self._make("create", key, allowed=["ok", "already_exists"]) for key in keys]

    def next(self) -> Operation:
        """One more operation."""
        makers, weights = zip(*self._makers, strict=True)
        maker: Callable[[], Operation] = self._dice.choices(makers, weights)[0]
        return maker()

    def content(self) -> str:
        """Something to say in an event."""
        return "x" * self._dice.randrange(300)

    def counted_was_told(self, revision: int | None) -> None:
        """Note the revision that ``counted`` is at; None if that is not known."""
        self._counting = False
        self.revision = revision

    def _make(
        self,
        kind: Kind,
        key: SessionId,
        *,
        name: str = "",
        changes: list[Change] | None = None,
        expected_revision: int | None = None,
        allowed: list[str] | None = None,
        watched: bool = True,
        size: int = 0,
    ) -> Operation:
        self._ordinal += 1
        id_ = f"{self.client}-{self._ordinal}"
        own_key = (*key[:2], key[2].replace("{id}", id_))
        sha256 = hashlib.sha256(bytes_of(id_, size)).hexdigest() if kind == "save" else ""
        return Operation(
            id=id_,
            kind=kind,
            app=own_key[0],
            user=own_key[1],
            session=own_key[2],
            name=name.replace("{id}", id_),
            changes=[_named(change, id_) for change in changes or []],
            expected_revision=expected_revision,
            allowed=allowed or ["ok"],
            watched=watched,
            size=size,
            sha256=sha256,
        )

    def _session(self) -> SessionId:
        shared = self._dice.random() < self.mix.shared
        return self._dice.choice(self.shared if shared else self.own)

    def _change(self, *, wide: bool = True) -> Change:
        """Set some keys and delete others. ``wide`` ones may be the user's or the app's."""
        names = [f"{self.client}.k{n}" for n in range(_STATE_KEYS)]
        if wide and self._dice.random() < 0.1:
            names = [f"{self._dice.choice(('app', 'user'))}:{name}" for name in names]
        chosen = self._dice.sample(names, self._dice.randrange(3))
        deleted = chosen[:1] if self._dice.random() < 0.2 else []
        return Change(sets=[name for name in chosen if name not in deleted], deletes=deleted)

    def _append(self) -> Operation:
        return self._make("append", self._session(), changes=[self._change()])

    def _append_many(self) -> Operation:
        changes = [self._change() for _ in range(self._dice.randint(2, 5))]
        return self._make("append", self._session(), changes=changes)

    def _update(self) -> Operation:
        change = self._change()
        marked = Change(sets=[*change.sets, MARK + "{id}"], deletes=change.deletes)
        return self._make("update", self._session(), changes=[marked])

    def _save_small(self) -> Operation:
        return self._save(self._dice.randrange(2000))

    def _save_large(self) -> Operation:
        return self._save(MAX_INLINE_BYTES + self._dice.randrange(1, 150_000))

    def _save(self, size: int) -> Operation:
        own = self._dice.random() < 0.2
        name = f"{'user:' if own else ''}a{self._dice.randrange(_ARTIFACTS)}"
        return self._make("save", self._session(), name=name, size=size)

    def _fail(self) -> Operation:
        """An operation that must fail, and which its dead letter names; half are not watched."""
        kind: Kind = self._dice.choice(("append", "update", "delete", "create", "remove"))
        key = (APPS[0], f"{self.client}-user0", "ghost-{id}")
        if kind in ("create", "remove"):
            key = self._dice.choice(self.own)
        changes = {
            "append": [Change(sets=["never"])],
            "create": [Change(sets=["never"])],
            "update": [Change(sets=[MARK + "{id}"])],
        }
        return self._make(
            kind,
            key,
            name="none-{id}" if kind == "remove" else "",
            changes=changes.get(kind),
            allowed=["already_exists" if kind == "create" else "not_found"],
            watched=self._dice.random() < 0.5,
        )

    def _short_lived(self) -> Operation:
        """A step in the life of a session that is created, filled, and perhaps deleted."""
        if not self._short or self._dice.random() < 0.2:
            user = f"{self.client}-user{self._dice.randrange(2)}"
            session = _ShortLived(
                (self._dice.choice(APPS), user, f"short-{self.client}-{self._ordinal}")
            )
            self._short.append(session)
            return self._make("create", session.key, changes=[self._change(wide=False)])
        session = self._dice.choice(self._short)
        if session.deleted:
            self._short.remove(session)
            change = self._change(wide=False)
            return self._make("append", session.key, changes=[change], allowed=["not_found"])
        if self._dice.random() < 0.2:
            session.deleted = True
            return self._make("delete", session.key)
        return self._make("append", session.key, changes=[self._change(wide=False)])

    def _compare_and_set(self) -> Operation:
        """A compare-and-set on a session of which only one operation is open at a time."""
        if self._counting:
            stale = self._dice.choice(self.own)
            return self._make(
                "append",
                stale,
                changes=[Change()],
                expected_revision=_STALE_REVISION,
                allowed=["conflict"],
                watched=self._dice.random() < 0.5,
            )
        self._counting = True
        return self._make(
            "append",
            self.counted,
            changes=[self._change()],
            expected_revision=self.revision,
            allowed=["ok"] if self.revision is None else ["ok", "conflict"],
        )


def bytes_of(operation_id: str, size: int) -> bytes:
    """The bytes that an operation saves."""
    return random.Random(operation_id).randbytes(size)


def _named(change: Change, operation_id: str) -> Change:
    return Change(
        sets=[name.replace("{id}", operation_id) for name in change.sets], deletes=change.deletes
    )
