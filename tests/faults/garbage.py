"""Things that anybody can put on a queue and that are no messages of ours."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from api_client.contract import codec

_HUGE = 17 * 1024 * 1024
_DEEP = 50_000


#: What our worker may take for a message of ours, whose one operation then fails.
_READABLE = {"chained", "time-limited", "expired", "later"}


@dataclass(frozen=True)
class Garbage:
    """Bytes put on a queue that are no message of ours.

    Attributes:
        name: its kind.
        marker: text that is somewhere in the bytes.
        item: the bytes.
        readable: whether it can be read as a message, whose one operation then fails.
    """

    name: str
    marker: str
    item: bytes = field(repr=False)
    readable: bool = False


def make(kind: str) -> Garbage:
    """A new piece of garbage."""
    marker = f"garbage-{uuid4().hex}"
    return Garbage(kind, marker, KINDS[kind](marker), kind in _READABLE)


def envelope(
    body: bytes,
    *,
    task: str = codec.WRITE_TASK,
    content_type: str = "application/json",
    **headers: Any,
) -> bytes:
    """A Celery message as kombu puts it on a Redis list."""
    task_id = str(uuid4())
    properties = {
        "correlation_id": task_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": codec.WRITE_QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {"lang": "py", "task": task, "id": task_id, "root_id": task_id, **headers},
        "properties": properties,
    }
    return json.dumps(message).encode()


def _body(argument: Any, **embed: Any) -> bytes:
    return json.dumps([[argument], {}, embed]).encode()


def _failing(marker: str) -> dict[str, Any]:
    """A message whose one operation must fail."""
    key = {"app": "garbage", "user": "nobody", "session": marker}
    operation = {"op": "session.update_state", "key": key, "delta": {"never": marker}}
    return {"version": 1, "id": str(uuid4()), "operations": [operation]}


def _chained(marker: str) -> bytes:
    link = {"task": "celery.ping", "args": [], "kwargs": {}, "options": {}}
    return envelope(_body(_failing(marker), chain=[link], callbacks=[link], errbacks=[link]))


def _deep(marker: str) -> bytes:
    return envelope(f'[["{marker}", {"[" * _DEEP}{"]" * _DEEP}], {{}}, {{}}]'.encode())


#: Makes one by kind; the marker is somewhere in what it makes.
KINDS: dict[str, Callable[[str], bytes]] = {
    "not-json": lambda marker: f"not json: {marker} \xff".encode("latin-1"),
    "no-properties": lambda marker: json.dumps({"body": marker, "headers": {}}).encode(),
    "not-an-object": lambda marker: json.dumps([marker]).encode(),
    "wrong-arguments": lambda marker: envelope(json.dumps([[], {"wrong": marker}, {}]).encode()),
    "body-not-json": lambda marker: envelope(f"{{{marker}".encode()),
    "no-message": lambda marker: envelope(_body({"version": 1, "id": marker, "operations": []})),
    "unknown-task": lambda marker: envelope(_body(marker), task="no.such.task"),
    "built-in-task": lambda marker: envelope(_body(marker), task="celery.chain"),
    "compressed": lambda marker: envelope(
        gzip.compress(_body(_failing(marker)), 0), compression="application/x-gzip"
    ),
    "pickled": lambda marker: envelope(
        f"cos\nsystem\n(S'{marker}'\ntR.".encode(), content_type="application/x-python-serialize"
    ),
    "chained": _chained,
    "time-limited": lambda marker: envelope(_body(_failing(marker)), timelimit=[0.001, 0.001]),
    "expired": lambda marker: envelope(
        _body(_failing(marker)), expires="2001-01-01T00:00:00+00:00"
    ),
    "later": lambda marker: envelope(_body(_failing(marker)), eta="2099-01-01T00:00:00+00:00"),
    "huge": lambda marker: envelope(_body([marker, "x" * _HUGE])),
    "deep": _deep,
}
