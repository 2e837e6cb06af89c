"""What names a session and an artifact."""

from __future__ import annotations

import msgspec
from uuid_utils import uuid7

from api_client.contract.checks import check_text
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_NAME_BYTES

USER_SCOPE_PREFIX = "user:"


class SessionKey(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """Names one session: its app, its user, and its id, which is unique within the two.

    Parameters:
        app, user, session: non-empty text without NUL, at most `MAX_ID_BYTES` bytes each.

    Raises:
        InvalidRequest: one of them breaks these rules; the error names which.
    """

    app: str
    user: str
    session: str

    def __post_init__(self) -> None:
        check_text(self.app, "app")
        check_text(self.user, "user")
        check_text(self.session, "session")

    @classmethod
    def new(cls, app: str, user: str) -> SessionKey:
        """A key with a fresh, time-ordered session id (UUIDv7, RFC 9562)."""
        return cls(app, user, str(uuid7()))


class ArtifactKey(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """Names one artifact. A name that begins with ``user:`` belongs to the user: it is the same
    artifact in all of the user's sessions.

    Parameters:
        app, user, session: as in `SessionKey`. The session need not exist.
        name: any non-empty text without NUL, at most `MAX_NAME_BYTES` bytes. It never becomes a
            path: ``../x``, ``a/b`` and ``a_b`` are three different names.

    Raises:
        InvalidRequest: one of them breaks these rules; the error names which.
    """

    app: str
    user: str
    session: str
    name: str

    def __post_init__(self) -> None:
        check_text(self.app, "app")
        check_text(self.user, "user")
        check_text(self.session, "session")
        check_text(self.name, "name", MAX_NAME_BYTES)

    @property
    def user_scoped(self) -> bool:
        """Whether the artifact belongs to the user rather than to the session."""
        return self.name.startswith(USER_SCOPE_PREFIX)


def check_session_key(key: SessionKey) -> None:
    """Refuse anything but a `SessionKey`; its fields were checked when it was made."""
    if not isinstance(key, SessionKey):
        raise InvalidRequest(f"key must be a SessionKey, not {type(key).__name__}", field="key")


def check_artifact_key(key: ArtifactKey) -> None:
    """Refuse anything but an `ArtifactKey`; its fields were checked when it was made."""
    if not isinstance(key, ArtifactKey):
        raise InvalidRequest(f"key must be an ArtifactKey, not {type(key).__name__}", field="key")
