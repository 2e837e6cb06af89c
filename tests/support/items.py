"""Items of the broker's lists, as publishers and vandals put them there."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from api_client.contract import codec
from api_client.contract.records import new_id

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def message(*operations: Mapping[str, Any], id_: str | None = None) -> dict[str, Any]:
    """A message as Python data."""
    return {"version": 1, "id": id_ or new_id(), "operations": list(operations)}


def create(session: str, app: str = "app", user: str = "user") -> dict[str, Any]:
    """The operation that creates a session."""
    return {"op": "session.create", "key": {"app": app, "user": user, "session": session}}


def append(session: str, *contents: object, app: str = "app", user: str = "user") -> dict[str, Any]:
    """The operation that appends an event for each of ``contents``."""
    events = [
        {
            "id": new_id(),
            "author": "test",
            "timestamp": "2026-01-31T12:00:00Z",
            "content": content,
        }
        for content in contents
    ]
    key = {"app": app, "user": user, "session": session}
    return {"op": "session.append", "key": key, "events": events}


def body(*arguments: object, embed: Mapping[str, Any] = _NOTHING, **kwargs: object) -> bytes:
    """The body of a task call, protocol 2."""
    return json.dumps([arguments, kwargs, dict(embed)]).encode()


def item(
    content: bytes,
    *,
    headers: Mapping[str, Any] = _NOTHING,
    properties: Mapping[str, Any] = _NOTHING,
    top: Mapping[str, Any] = _NOTHING,
) -> dict[str, Any]:
    """A call of `storage.write` as kombu puts it on a list, with changes.

    Parameters:
        content: the body.
        headers, properties, top: what to set in these parts of it.
    """
    task_id = new_id()
    return {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": codec.WRITE_TASK,
            "id": task_id,
            "root_id": task_id,
            "timelimit": [None, None],
            **headers,
        },
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": codec.WRITE_QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": new_id(),
            **properties,
        },
        **top,
    }


def encoded(value: Mapping[str, Any]) -> bytes:
    """An item as bytes."""
    return json.dumps(value).encode()
