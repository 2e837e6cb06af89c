"""How old a message is, by its id. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID

from api_client.contract.limits import MAX_MESSAGE_AGE_DAYS


def oldest_id(wall: float) -> str:
    """What the id of a message sorts before if it is too old to be sent.

    Ids are UUIDv7, which begin with the time of creation in milliseconds.

    Parameters:
        wall: the present, in seconds since 1970.
    """
    milliseconds = max(0, int((wall - MAX_MESSAGE_AGE_DAYS * 86_400) * 1000))
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def created_at(message_id: str) -> datetime:
    """When the message with this id was made."""
    return datetime.fromtimestamp((UUID(message_id).int >> 80) / 1000, timezone.utc)
