"""Which operations must be applied in the order in which one client issued them.

An ordering key is a tuple: ``("app", app)``, ``("user", app, user)`` or
``("session", app, user, session)``. Two operations that share one are applied in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.operations import (
    AppendEvents,
    CreateSession,
    DeleteArtifact,
    DeleteSession,
    DiscardDeadLetter,
    SaveArtifact,
    UpdateState,
    WriteOperation,
)
from api_client.contract.scopes import Scope, split_state_key

OrderingKey = tuple[str, ...]


def session_ordering(key: SessionKey | ArtifactKey) -> OrderingKey:
    """The ordering key of a session."""
    return ("session", key.app, key.user, key.session)


def user_ordering(app: str, user: str) -> OrderingKey:
    """The ordering key of a user: its state and its ``user:`` artifacts."""
    return ("user", app, user)


def app_ordering(app: str) -> OrderingKey:
    """The ordering key of an app's state."""
    return ("app", app)


def artifact_ordering(key: ArtifactKey) -> OrderingKey:
    """The ordering key of an artifact: its session's, or its user's for a ``user:`` name."""
    return user_ordering(key.app, key.user) if key.user_scoped else session_ordering(key)


def state_ordering(key: SessionKey, state_keys: Iterable[str]) -> set[OrderingKey]:
    """The ordering keys of the scopes beyond the session that ``state_keys`` touch."""
    found: set[OrderingKey] = set()
    for name in state_keys:
        # Most keys have no prefix.
        if ":" in name:
            scope, _ = split_state_key(name)
            if scope is Scope.APP:
                found.add(app_ordering(key.app))
            elif scope is Scope.USER:
                found.add(user_ordering(key.app, key.user))
    return found


def ordering_keys(
    operation: WriteOperation, event_state_keys: Iterable[str] = ()
) -> frozenset[OrderingKey]:
    """All ordering keys of ``operation``.

    Parameters:
        event_state_keys: the state keys its events touch, which the operation itself carries
            only as unparsed JSON.
    """
    match operation:
        case AppendEvents(key=key):
            return _session_and_state(key, event_state_keys)
        case CreateSession(key=key, state=state):
            return _session_and_state(key, state)
        case UpdateState(key=key, delta=delta, delete=delete):
            return _session_and_state(key, [*delta, *delete])
        case DeleteSession(key=key):
            return _only_session(key)
        case SaveArtifact(key=artifact) | DeleteArtifact(key=artifact):
            return frozenset({artifact_ordering(artifact)})
        case DiscardDeadLetter():
            return frozenset()


def _session_and_state(key: SessionKey, state_keys: Iterable[str]) -> frozenset[OrderingKey]:
    own, shared = _only_session(key), state_ordering(key, state_keys)
    return own | shared if shared else own


# Operations that wait for the same session share one set: the fewer objects there are, the less
# the garbage collector has to do.
@lru_cache(maxsize=10_000)
def _only_session(key: SessionKey) -> frozenset[OrderingKey]:
    return frozenset({session_ordering(key)})
