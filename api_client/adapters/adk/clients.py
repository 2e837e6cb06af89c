"""The client of a service: one that it is given, or one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api_client.client import StorageClient
from api_client.contract.errors import InvalidRequest


def open_client(
    client: StorageClient | str, options: Mapping[str, Any]
) -> tuple[StorageClient, bool]:
    """The client to use, and whether it was opened here, so that it must be closed here.

    Parameters:
        client: a client, or the URL of a broker.
        options: of `StorageClient`, for a client that is opened here.

    Raises:
        InvalidRequest: ``client`` is neither, or there are options for a client that is open.
        Unavailable: the outbox is in use, or cannot be opened.
    """
    if isinstance(client, str):
        return StorageClient(client, **options), True
    if not isinstance(client, StorageClient):
        raise InvalidRequest(
            f"client must be a StorageClient or a broker URL, not {type(client).__name__}",
            field="client",
        )
    if options:
        raise InvalidRequest(
            f"{', '.join(options)}: the given client has its own options", field="client"
        )
    return client, False
