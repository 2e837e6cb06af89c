"""Which messages may come in: only our tasks, in the form that docs/wire.md gives. Pure.

What is refused is not dropped: it is rewritten into a call of `BURY_TASK`, which keeps it as a
dead letter, and only then is the delivery acknowledged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from uuid import UUID, uuid5

import msgspec

from api_client.contract import codec
from api_client.contract.checks import check_count
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_MESSAGE_BYTES, MIB
from api_client.contract.records import new_id
from worker.dead_letters import KEPT_BYTES, Refused
from worker.origin import traces_of

#: The task that keeps what was refused.
BURY_TASK = "storage.bury"
#: The task that applies several messages. Nobody but the worker itself can call these two.
GROUP_TASK = "storage.write_group"

_OWN_TASKS = (BURY_TASK, GROUP_TASK)

#: Bytes of a Celery body: one message, with what Celery puts around it.
_MAX_BODY_BYTES = MAX_MESSAGE_BYTES + 1024
#: What is buried travels in base64.
_MAX_BURIED_BYTES = 2 * KEPT_BYTES
#: A body travels in base64, too, or with a backslash before each quote.
_MAX_ITEM_BYTES = 2 * _MAX_BURIED_BYTES + MIB
_MAX_ID_LENGTH = 512
_MAX_HEADER_DEPTH = 8
_KEPT_HEADERS = 64 * 1024
#: Headers by which a publisher would have Celery do something else than run the task now.
_REFUSED_HEADERS = ("eta", "group", "chord", "compression", "stamped_headers")
#: What publishers send who want none.
_NO_TIME_LIMITS: tuple[object, ...] = (None, [], [None, None])
_CONTENT_TYPES = (codec.BODY_CONTENT_TYPE, "application/json")
_NAMESPACE = UUID("6f1d0c0e-5a1b-4c55-9d1e-7a646b2d6c74")


class BadItem(Exception):
    """An item of a Redis list is no message; the text says why."""


class GroupedCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the task ``storage.write`` in a group of them.

    Attributes:
        task_id: what its result is known by.
        message: its argument.
        traces: the header of that meaning.
    """

    task_id: str
    message: msgspec.Raw
    traces: str = ""


class _DeliveryInfo(msgspec.Struct):
    exchange: str
    routing_key: str
    redelivered: Any = False


class _Properties(msgspec.Struct):
    delivery_tag: str
    delivery_info: _DeliveryInfo
    body_encoding: str | None = None
    priority: Any = 0


class _Item(msgspec.Struct):
    """What kombu and Celery use of an item in a Redis list."""

    body: str
    properties: _Properties
    headers: dict[str, Any]
    content_type: Any = msgspec.field(default=None, name="content-type")


_item_decoder = msgspec.json.Decoder(_Item)


def clean_item(item: bytes, queue: str) -> dict[str, Any]:
    """What kombu needs of an ``item`` of a Redis list, and nothing that it trips over.

    kombu reads JSON in another way than here, makes dates and UUIDs of marked objects, and puts
    a message that it hands back wherever the message says that it came from.

    Parameters:
        queue: where it was found.

    Raises:
        BadItem: it is no message.
    """
    found = _read_item(item)
    properties = found.properties
    return _item(
        found.body,
        found.headers,
        found.content_type,
        queue,
        tag=_unique_tag(properties.delivery_tag, item),
        encoding=_encoding(properties),
        priority=properties.priority,
        redelivered=properties.delivery_info.redelivered is True,
    )


def wrapped_item(item: bytes, reason: str, queue: str) -> dict[str, Any]:
    """The same in place of an item that is no message."""
    # Two equal items are two; the id stays with the item that takes their place.
    kept = Refused(new_id(), "", "", reason, "", item[:KEPT_BYTES], len(item))
    headers, body = bury_call(kept)
    encoded = base64.b64encode(body).decode()
    return _item(encoded, headers, codec.BODY_CONTENT_TYPE, queue, tag=kept.id, encoding="base64")


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
    if not task_id.isprintable():
        return "the task id must be printable"
    return (
        _header_fault(task, headers) or _content_type_fault(content_type) or _body_fault(task, body)
    )


def clean_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that matter, and none that anybody else made up."""
    tries = headers.get(codec.TRY_HEADER)
    return {
        "lang": "py",
        "task": headers["task"],
        "id": headers["id"],
        "root_id": headers["id"],
        "parent_id": None,
        "expires": _expiry(headers),
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "",
        "kwargsrepr": "",
        "ignore_result": headers.get("ignore_result") is True or headers["task"] in _OWN_TASKS,
        "redelivered": headers.get("redelivered") is True,
        codec.TRY_HEADER: tries if isinstance(tries, int) else 1,
        codec.NOTICE_HEADER: headers.get(codec.NOTICE_HEADER) is True,
        codec.TRACES_HEADER: traces_of(headers),
    }


def bury_call(refused: Refused) -> tuple[dict[str, Any], bytes]:
    """Headers and body of the call that keeps ``refused``."""
    headers = clean_headers({"task": BURY_TASK, "id": refused.id})
    return headers, codec.encode_body(((refused,), {}, {}))


def group_call(calls: Sequence[tuple[Mapping[str, Any], bytes]]) -> tuple[dict[str, Any], bytes]:
    """Headers and body of one call that stands for several of ``storage.write``.

    Parameters:
        calls: headers and body of each, which the gate has let through.
    """
    group = [
        GroupedCall(headers["id"], codec.decode_body(body)[0][0], headers[codec.TRACES_HEADER])
        for headers, body in calls
    ]
    headers = clean_headers({"task": GROUP_TASK, "id": new_id()})
    return headers, codec.encode_body(((group,), {}, {}))


def read_bury_call(argument: bytes | msgspec.Raw) -> Refused:
    """The argument of such a call. Whoever reaches the broker can send one of their own.

    Raises:
        InvalidRequest: it is not one that `bury_call` makes.
    """
    found = codec.decode(argument, Refused)
    codec.check_message_id(found.id)
    check_count(found.size, "size")
    if len(found.body) != min(found.size, KEPT_BYTES):
        raise InvalidRequest("size must be that of body", field="size")
    if len(found.headers) > _KEPT_HEADERS or len(found.task_id) > _MAX_ID_LENGTH:
        raise InvalidRequest("headers or task_id are too long", field="headers")
    return found


def refused(headers: object, body: bytes, reason: str, tag: object = "") -> Refused:
    """What is kept of a refused message; the same for each delivery of the same one.

    Parameters:
        tag: the broker's name for the message, if it has one that lasts.
    """
    task, task_id = _text_of(headers, "task"), _text_of(headers, "id")
    return Refused(
        id=_name_of(body, task_id, tag if isinstance(tag, str) else ""),
        task=task,
        task_id=task_id if len(task_id) <= _MAX_ID_LENGTH else "",
        reason=reason,
        headers=_as_text(headers),
        body=body[:KEPT_BYTES],
        size=len(body),
    )


def _read_item(item: bytes) -> _Item:
    if len(item) > _MAX_ITEM_BYTES:
        raise BadItem(f"it has {len(item):,} bytes; at most {_MAX_ITEM_BYTES:,} are allowed")
    try:
        found = _item_decoder.decode(item)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadItem(f"not a message: {error}") from None
    encoding = _encoding(found.properties)
    if encoding not in ("utf-8", "base64"):
        raise BadItem(f"unknown body_encoding {encoding[:100]!r}")
    if encoding == "base64":
        try:
            base64.b64decode(found.body)
        except (binascii.Error, ValueError) as error:
            raise BadItem(f"the body is not base64: {error}") from None
    if not _is_plain(found.headers):
        raise BadItem("the headers are nested too deep, or hold marked objects")
    return found


def _unique_tag(tag: str, item: bytes) -> str:
    """What kombu knows a delivery by. Were it the same for two messages, one would be handed back
    in the place of the other."""
    try:
        return str(UUID(tag))
    except ValueError:
        return str(uuid5(_NAMESPACE, hashlib.sha256(item).hexdigest()))


def _encoding(properties: _Properties) -> str:
    return (properties.body_encoding or "utf-8").lower()


def _is_plain(value: object, depth: int = _MAX_HEADER_DEPTH) -> bool:
    """Whether any JSON reader makes the same of it (``kombu/utils/json.py``, ``object_hook``)."""
    if not isinstance(value, (dict, list)):
        return True
    if isinstance(value, dict) and "__type__" in value:
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_plain(item, depth - 1) for item in inner)


def _item(
    body: str,
    headers: Mapping[str, Any],
    content_type: object,
    queue: str,
    *,
    tag: str,
    encoding: str,
    priority: object = 0,
    redelivered: bool = False,
) -> dict[str, Any]:
    return {
        "body": body,
        "content-type": content_type if isinstance(content_type, str) else None,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "delivery_tag": tag,
            "delivery_mode": 2,
            # Without an exchange a message goes to the queue that its key names.
            "delivery_info": {"exchange": "", "routing_key": queue, "redelivered": redelivered},
            "priority": priority if isinstance(priority, int) else 0,
            "body_encoding": encoding,
        },
    }


def _header_fault(task: str, headers: Mapping[str, Any]) -> str | None:
    for name in _REFUSED_HEADERS:
        if headers.get(name):
            return f"the header {name!r} is not allowed"
    if headers.get("timelimit") not in _NO_TIME_LIMITS:
        return "the header 'timelimit' is not allowed"
    if headers.get("expires") and task != codec.READ_TASK:
        return "the header 'expires' is not allowed, because a write must not vanish"
    if headers.get("expires") and _expiry(headers) is None:
        return "the header 'expires' must be a time in ISO 8601"
    return None


def _content_type_fault(content_type: object) -> str | None:
    if content_type in _CONTENT_TYPES:
        return None
    return f"content type {str(content_type)[:200]!r} is not allowed; use application/json"


def _body_fault(task: str, body: bytes) -> str | None:
    most = _MAX_BURIED_BYTES if task == BURY_TASK else _MAX_BODY_BYTES
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


def _expiry(headers: Mapping[str, Any]) -> str | None:
    """When a message expires, in a form that Celery reads; None if that cannot be told."""
    try:
        found = datetime.fromisoformat(headers["expires"])
        if found.tzinfo is None:
            found = found.replace(tzinfo=timezone.utc)
        return found.astimezone(timezone.utc).isoformat()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _text_of(headers: object, name: str) -> str:
    found = headers.get(name) if isinstance(headers, Mapping) else None
    return found if isinstance(found, str) else ""


def _name_of(body: bytes, task_id: str, tag: str) -> str:
    """An id that a second delivery of the same message gets too."""
    digest = hashlib.sha256(repr((task_id, tag)).encode() + body)
    return str(uuid5(_NAMESPACE, digest.hexdigest()))


def _as_text(headers: object) -> str:
    if headers is None:
        return ""
    try:
        return msgspec.json.encode(headers).decode()[:_KEPT_HEADERS]
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError):
        return _representation(headers)[:_KEPT_HEADERS]


def _representation(headers: object) -> str:
    try:
        return repr(headers)
    except RecursionError:
        return "nested too deep to be shown"
