"""Makes services of the URIs that ADK's command line is given."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from api_client.adapters.adk.artifacts import ZdkArtifactService
from api_client.adapters.adk.service_uri import ServiceUri, parse_service_uri
from api_client.adapters.adk.sessions import ZdkSessionService
from api_client.client import StorageClient

#: The clients of this process. Each closes itself at exit.
_clients: dict[ServiceUri, StorageClient] = {}
_opening = threading.Lock()


def session_service(uri: str, **_options: Any) -> ZdkSessionService:
    """The session service of ``uri``; see `parse_service_uri` for its form.

    Services whose URIs mean the same storage share one client, which lives as long as the process.

    Parameters:
        _options: what ADK gives to every factory, and ``--session_db_kwargs``, which is meant for
            databases; not used.

    Raises:
        InvalidRequest: a part of the URI is missing or wrong; the error names it.
        Unavailable: the outbox is in use by another process, or the local database is down.
    """
    place = parse_service_uri(uri)
    return ZdkSessionService(_client(place), ack=place.ack)


def artifact_service(uri: str, **_options: Any) -> ZdkArtifactService:
    """The artifact service of ``uri``. See `session_service`."""
    return ZdkArtifactService(_client(parse_service_uri(uri)))


def _client(place: ServiceUri) -> StorageClient:
    with _opening:
        client = _clients.get(place.storage)
        if client is None:
            client = _clients[place.storage] = _open(place)
        return client


def _open(place: ServiceUri) -> StorageClient:
    if place.database is not None and place.artifacts is not None:
        if place.folder is not None:
            Path(place.folder).mkdir(parents=True, exist_ok=True)
        return StorageClient.local(place.database, place.artifacts, place.outbox)
    given = {
        "result_url": place.results,
        "artifacts_url": place.artifacts,
        "outbox": place.outbox,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if place.broker is None:
        return StorageClient.from_env(**options)
    return StorageClient(place.broker, **options)
