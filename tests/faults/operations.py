"""What a client of the chaos asks for: plain data, from which its effect can be worked out."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Kind = Literal["create", "append", "update", "delete", "save", "remove"]

#: An operation's id wherever it occurs: in event ids, state values, names and dead letters.
ID = re.compile(r"\b[a-z]+[0-9]+-[0-9]{7,}\b")
#: Ordinals of one life of a client; a restarted client begins at the next multiple.
LIFE = 10_000_000
#: Begins the state key that only the update of the id that follows sets.
MARK = "mark:"

SessionId = tuple[str, str, str]
#: App, user, session (empty for a user's own artifact) and name.
ArtifactId = tuple[str, str, str, str]


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One state delta: keys that are set to ``<operation>/<index of the change>``, and deleted."""

    sets: list[str] = []
    deletes: list[str] = []


class Operation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One operation of the workload.

    Attributes:
        id: ``<client>-<ordinal>``; ordinals rise in the order of issue, over restarts too.
        changes: one per event of an append; one for a create or an update.
        expected_revision: makes an append a compare-and-set.
        allowed: the outcomes it may have: ``ok`` or error codes.
        watched: whether the client looks at the outcome; if not, a failure is a dead letter.
        size, sha256: of the bytes to save.
    """

    id: str
    kind: Kind
    app: str
    user: str
    session: str
    name: str = ""
    changes: list[Change] = []
    expected_revision: int | None = None
    allowed: list[str] = msgspec.field(default_factory=lambda: ["ok"])
    watched: bool = True
    size: int = 0
    sha256: str = ""

    @property
    def client(self) -> str:
        """Who issues it."""
        return self.id.partition("-")[0]

    @property
    def ordinal(self) -> int:
        """Its place in the order of issue of its client."""
        return int(self.id.partition("-")[2])

    @property
    def key(self) -> SessionId:
        """Its session."""
        return (self.app, self.user, self.session)

    @property
    def artifact(self) -> ArtifactId:
        """Its artifact, where the index has it."""
        own = self.name.startswith("user:")
        return (self.app, self.user, "" if own else self.session, self.name)


def value_of(operation_id: str, index: int) -> str:
    """What a change sets its keys to; also the id of the event that carries it."""
    return f"{operation_id}/{index}"


def operation_of(text: str) -> str:
    """The operation that an event id or a state value names."""
    return text.partition("/")[0]
