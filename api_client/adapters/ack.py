"""When a framework's write returns."""

from __future__ import annotations

from typing import Literal

from api_client.contract.errors import InvalidRequest

#: Once it is committed, or once it is durable in the client's outbox.
Ack = Literal["applied", "accepted"]


def check_ack(ack: str) -> None:
    """Refuse anything but one of the two. Raises `InvalidRequest`."""
    if ack not in ("applied", "accepted"):
        raise InvalidRequest("ack must be 'applied' or 'accepted'", field="ack")
