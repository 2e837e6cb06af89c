"""ZDK Storage: sessions and artifacts of AI agents, kept without making the agent wait.

::

    from api_client import Event, SessionKey, StorageClient

    client = StorageClient("redis://localhost:6379/0", outbox="outbox.db")
    receipt = client.sessions.append(SessionKey("app", "user", "session-1"), Event(author="agent"))
"""

import logging

from api_client.client import StorageClient
from api_client.contract.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    OutboxFull,
    StorageError,
    TooLarge,
    Unavailable,
)
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.outcomes import (
    AppendedEvent,
    ArtifactDeleted,
    EventsAppended,
    MessageState,
    SessionCreated,
    SessionDeleted,
    StateUpdated,
)
from api_client.contract.records import (
    Artifact,
    ArtifactVersion,
    Event,
    Page,
    Session,
    SessionSummary,
    StoredEvent,
)
from api_client.receipts import Receipt

__all__ = [
    "AlreadyExists",
    "AppendedEvent",
    "Artifact",
    "ArtifactDeleted",
    "ArtifactKey",
    "ArtifactVersion",
    "Conflict",
    "Event",
    "EventsAppended",
    "Forbidden",
    "InvalidRequest",
    "MessageState",
    "NotFound",
    "OutboxFull",
    "Page",
    "Receipt",
    "Session",
    "SessionCreated",
    "SessionDeleted",
    "SessionKey",
    "SessionSummary",
    "StateUpdated",
    "StorageClient",
    "StorageError",
    "StoredEvent",
    "TooLarge",
    "Unavailable",
]

# A library says nothing unless its application has set up a log.
logging.getLogger(__name__).addHandler(logging.NullHandler())
