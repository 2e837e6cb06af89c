"""Which messages may come in: only our tasks, in the form that docs/wire.md gives. Pure.

What is refused is not dropped: it is rewritten into a call of `BURY_TASK`, which keeps it as a
dead letter, and only then is the delivery acknowledged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

import msgspec

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_MESSAGE_BYTES
from api_client.contract.records import new_id
from worker.dead_letters import KEPT_BYTES, Refused

#: The task that keeps what was refused.
BURY_TASK = "storage.bury"

#: Bytes of a Celery body: one message, with what Celery puts around it.
_MAX_BODY_BYTES = MAX_MESSAGE_BYTES + 1024
_MAX_ID_LENGTH = 512
_KEPT_HEADERS = 64 * 1024
#: Headers by which a publisher would have Celery do something else than run the task now.
_REFUSED_HEADERS = ("eta", "group", "chord", "compression", "stamped_headers")
_CONTENT_TYPES = (codec.BODY_CONTENT_TYPE, "application/json")
_NAMESPACE = UUID("6f1d0c0e-5a1b-4c55-9d1e-7a646b2d6c74")


class _DeliveryInfo(msgspec.Struct):
    exchange: str
    routing_key: str


class _Properties(msgspec.Struct):
    delivery_tag: str
    delivery_info: _DeliveryInfo
    body_encoding: str | None = None


class _Item(msgspec.Struct):
    """What kombu needs of an item in a Redis list before it can do anything with it."""

    body: str
    properties: _Properties
    headers: dict[str, Any]


_item_decoder = msgspec.json.Decoder(_Item)


def item_fault(item: bytes) -> str | None:
    """Why kombu could not take ``item`` of a Redis list; None if it can."""
    try:
        found = _item_decoder.decode(item)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        return f"not a message: {error}"
    encoding = (found.properties.body_encoding or "utf-8").lower()
    if encoding not in ("utf-8", "base64"):
        return f"unknown body_encoding {encoding[:100]!r}"
    if encoding == "base64":
        try:
            base64.b64decode(found.body)
        except (binascii.Error, ValueError) as error:
            return f"the body is not base64: {error}"
    return None


def message_fault(headers: Mapping[str, Any], content_type: object, body: bytes) -> str | None:
    """Why a message must not reach Celery's task machinery; None if it may.

    Parameters:
        headers, content_type, body: as they came.
    """
    task = headers.get("task")
    if task not in (codec.WRITE_TASK, codec.READ_TASK, BURY_TASK):
        return f"unknown task {str(task)[:200]!r}"
    task_id = headers.get("id")
    if not isinstance(task_id, str) or not 0 < len(task_id) <= _MAX_ID_LENGTH:
        return f"the task id must be a string of at most {_MAX_ID_LENGTH} characters"
    for name in _REFUSED_HEADERS:
        if headers.get(name):
            return f"the header {name!r} is not allowed"
    if any(headers.get("timelimit") or ()):
        return "the header 'timelimit' is not allowed"
    if headers.get("expires") and task != codec.READ_TASK:
        return "the header 'expires' is not allowed, because a write must not vanish"
    if content_type not in _CONTENT_TYPES:
        return f"content type {str(content_type)[:200]!r} is not allowed; use application/json"
    return _body_fault(task, body)


def clean_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that matter, and none that anybody else made up."""
    expires = headers.get("expires")
    tries = headers.get(codec.TRY_HEADER)
    return {
        "lang": "py",
        "task": headers["task"],
        "id": headers["id"],
        "root_id": headers["id"],
        "parent_id": None,
        "expires": expires if isinstance(expires, str) else None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "",
        "kwargsrepr": "",
        "ignore_result": headers.get("ignore_result") is True,
        "redelivered": headers.get("redelivered") is True,
        codec.TRY_HEADER: tries if isinstance(tries, int) else 1,
    }


def bury_call(refused: Refused) -> tuple[dict[str, Any], bytes]:
    """Headers and body of the call that keeps ``refused``."""
    headers = clean_headers({"task": BURY_TASK, "id": refused.id})
    return headers, codec.encode_body(((refused,), {}, {}))


def refused(headers: object, body: bytes, reason: str) -> Refused:
    """What is kept of a refused message; the same for each delivery of the same one."""
    task, task_id = _text_of(headers, "task"), _text_of(headers, "id")
    return Refused(
        id=_name_of(body, task_id),
        task=task,
        task_id=task_id if len(task_id) <= _MAX_ID_LENGTH else "",
        reason=reason,
        headers=_as_text(headers),
        body=body[:KEPT_BYTES],
        size=len(body),
    )


def wrapped_item(item: bytes, reason: str, queue: str) -> bytes:
    """A well-formed item in place of one that kombu could not take."""
    # Two equal items are two; the id stays with the item that takes their place.
    kept = Refused(new_id(), "", "", reason, "", item[:KEPT_BYTES], len(item))
    headers, body = bury_call(kept)
    return msgspec.json.encode(
        {
            "body": base64.b64encode(body).decode(),
            "content-type": codec.BODY_CONTENT_TYPE,
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": {
                "delivery_tag": headers["id"],
                "delivery_mode": 2,
                "delivery_info": {"exchange": queue, "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
            },
        }
    )


def _body_fault(task: str, body: bytes) -> str | None:
    # What is buried travels in base64.
    most = 2 * KEPT_BYTES if task == BURY_TASK else _MAX_BODY_BYTES
    if len(body) > most:
        return f"the body has {len(body):,} bytes; at most {most:,} are allowed"
    try:
        args, kwargs, embed = codec.decode_body(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, InvalidRequest) as error:
        return f"the body is not that of a Celery task, protocol 2: {error}"
    if len(args) != 1 or kwargs:
        return "the task takes exactly one positional argument"
    known = {"callbacks", "errbacks", "chain", "chord"}
    if any(embed.values()) or not embed.keys() <= known:
        return "callbacks, errbacks, chains and chords are not allowed"
    return None


def _text_of(headers: object, name: str) -> str:
    found = headers.get(name) if isinstance(headers, Mapping) else None
    return found if isinstance(found, str) else ""


def _name_of(body: bytes, task_id: str) -> str:
    """An id that a second delivery of the same message gets too."""
    digest = hashlib.sha256(msgspec.json.encode(task_id) + body)
    return str(uuid5(_NAMESPACE, digest.hexdigest()))


def _as_text(headers: object) -> str:
    if headers is None:
        return ""
    try:
        return msgspec.json.encode(headers).decode()[:_KEPT_HEADERS]
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError):
        return repr(headers)[:_KEPT_HEADERS]
