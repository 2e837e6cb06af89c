"""When something was made, as its id tells."""

from __future__ import annotations

from datetime import datetime, timezone
from uuid import UUID


def issued_at(name: str) -> datetime | None:
    """When an id was made, which a UUIDv7 tells in milliseconds (RFC 9562, 5.7).

    Returns None for another kind of id, and for a time beyond the calendar.
    """
    try:
        made = UUID(name)
        if made.version != 7:
            return None
        return datetime.fromtimestamp((made.int >> 80) / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        # Anybody can make an id of the year 10000.
        return None
