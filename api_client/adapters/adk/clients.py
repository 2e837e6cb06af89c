"""The client of a service: one that it is given, or one of its own, which it closes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from api_client.client import StorageClient
from api_client.contract.errors import InvalidRequest


class HoldsClient:
    """What the two services have in common.

    Parameters, and raises: see `open_client`.
    """

    def __init__(self, client: StorageClient | str, options: Mapping[str, Any]):
        self._client, self._owns_client = open_client(client, options)

    async def close(self) -> None:
        """Close the client if the service has opened it, after sending what it holds, for at most
        ten seconds; what is left in an outbox file goes on when that is opened again."""
        if self._owns_client:
            await asyncio.to_thread(self._client.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


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
