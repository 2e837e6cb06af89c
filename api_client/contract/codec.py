"""Messages and queries as JSON bytes. The format is described in docs/wire.md.

A reader of version n also reads version n - 1; version 1 is the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from api_client.contract.checks import check_size, check_utf8, json_encoder
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import (
    KIB,
    MAX_MESSAGE_BYTES,
    MAX_OPERATION_BYTES,
    MAX_OPERATIONS_PER_MESSAGE,
)
from api_client.contract.operations import Operation, Query, WriteOperation

WIRE_VERSION = 1
#: Versions that this release reads.
READABLE_VERSIONS = (1,)

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The unit of delivery: a batch of write operations under one id.

    Attributes:
        id: a UUID (version 7 from our own client); what the ledger knows the message by.
        operations: each still unparsed, so that a bad one does not spoil its neighbours.
        version: of the wire format.
    """

    id: str
    operations: list[msgspec.Raw]
    version: int = WIRE_VERSION


class QueryMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query with the version of the wire format."""

    query: msgspec.Raw
    version: int = WIRE_VERSION


_operation_decoder: msgspec.json.Decoder[WriteOperation] = msgspec.json.Decoder(WriteOperation)
_query_decoder: msgspec.json.Decoder[Query] = msgspec.json.Decoder(Query)
_message_decoder = msgspec.json.Decoder(Message)
_query_message_decoder = msgspec.json.Decoder(QueryMessage)


def encode(value: Any) -> bytes:
    """Any contract type as JSON bytes."""
    return json_encoder.encode(value)


def decode(raw: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """A contract type from JSON that a peer has encoded.

    Raises:
        InvalidRequest: the JSON is not of that type.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(str(error)) from None


def name_of(operation: WriteOperation | Query | type[Operation]) -> str:
    """What ``op`` says on the wire, such as ``session.append``."""
    return str(operation.__struct_config__.tag)


def encode_operation(operation: WriteOperation) -> bytes:
    """A write operation as JSON bytes.

    Raises:
        TooLarge: it exceeds `MAX_OPERATION_BYTES`.
    """
    encoded = json_encoder.encode(operation)
    check_size(len(encoded), "operation", MAX_OPERATION_BYTES)
    return encoded


def decode_operation(raw: bytes | msgspec.Raw) -> WriteOperation:
    """A write operation from JSON.

    Raises:
        InvalidRequest: it is none, or has unknown or wrongly typed fields.
    """
    try:
        return _operation_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"operation: {error}", field="operation") from None


def encode_message(message_id: str, operations: Iterable[bytes]) -> bytes:
    """A message around operations that are encoded already; equal input gives equal bytes."""
    return b'{"version":%d,"id":"%b","operations":[%b]}' % (
        WIRE_VERSION,
        message_id.encode(),
        b",".join(operations),
    )


def decode_message(raw: bytes | msgspec.Raw) -> Message:
    """A message from JSON, its operations left unparsed.

    Raises:
        InvalidRequest: it is not a message, its version is not readable, its id is not a UUID,
            or it holds no or too many operations.
        TooLarge: it exceeds `MAX_MESSAGE_BYTES`.
    """
    text = bytes(raw)
    check_size(len(text), "message", MAX_MESSAGE_BYTES)
    check_utf8(text, "message")
    try:
        message = _message_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"message: {error}", field="message") from None
    check_version(message.version)
    check_message_id(message.id)
    if not 1 <= len(message.operations) <= MAX_OPERATIONS_PER_MESSAGE:
        raise InvalidRequest(
            f"operations has {len(message.operations)} entries; "
            f"from 1 to {MAX_OPERATIONS_PER_MESSAGE} are allowed",
            field="operations",
            limit=MAX_OPERATIONS_PER_MESSAGE,
        )
    return message


def encode_query(query: Query) -> bytes:
    """A query message as JSON bytes."""
    return b'{"version":%d,"query":%b}' % (WIRE_VERSION, json_encoder.encode(query))


def decode_query(raw: bytes | msgspec.Raw) -> Query:
    """The query of a query message.

    Raises:
        InvalidRequest: it is none, or its version is not readable.
    """
    check_utf8(bytes(raw), "query")
    try:
        message = _query_message_decoder.decode(raw)
        check_version(message.version)
        return _query_decoder.decode(message.query)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"query: {error}", field="query") from None


def check_version(version: int) -> None:
    """Refuse a version of the wire format that this release does not read."""
    if version not in READABLE_VERSIONS:
        raise InvalidRequest(
            f"version {version} of the wire format is not readable here; "
            f"readable: {', '.join(map(str, READABLE_VERSIONS))}",
            field="version",
            limit=WIRE_VERSION,
        )


def check_message_id(message_id: str) -> None:
    """Refuse an id that is not a UUID in its canonical, lower-case form."""
    try:
        canonical = isinstance(message_id, str) and str(UUID(message_id)) == message_id
    except ValueError:
        canonical = False
    if not canonical:
        raise InvalidRequest("id must be a UUID in canonical, lower-case form", field="id")


# Celery task bodies. Ours are spliced from JSON that exists already, by a serializer of our own;
# a worker reads those of a plain Celery publisher in the same way.

BODY_SERIALIZER = "zdk-json"
BODY_CONTENT_TYPE = "application/x-zdk-json"
RESULT_SERIALIZER = "zdk-result"
RESULT_CONTENT_TYPE = "application/x-zdk-result"
#: Which sending of its message this is, from 1.
TRY_HEADER = "zdk_try"
#: The traces that its operations belong to: `traceparent` texts (W3C Trace Context), with commas
#: in between, each once.
TRACES_HEADER = "zdk_traces"
#: As many of them as a span takes links by default (OTEL_SPAN_LINK_COUNT_LIMIT).
MAX_TRACES = 128
MAX_TRACES_LENGTH = MAX_TRACES * 56
#: Set if a large result need not be published: a notice will do, and the result is fetched by key.
NOTICE_HEADER = "zdk_notice"
#: That notice, in the form of a Celery result without one.
RESULT_NOTICE = b'{"status":"STORED"}'
#: Bytes of a result from which on a notice is published.
NOTICE_FROM_BYTES = 32 * KIB
WRITE_TASK = WRITE_QUEUE = "storage.write"
READ_TASK = READ_QUEUE = "storage.read"


def own_headers(tries: int, traces: Sequence[str]) -> dict[str, Any]:
    """The headers of a message or query of this client's, besides those of Celery."""
    headers: dict[str, Any] = {TRY_HEADER: tries, NOTICE_HEADER: True}
    return headers | {TRACES_HEADER: ",".join(traces)} if traces else headers


_body_decoder = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, Any], dict[str, Any]])


def encode_body(body: Any) -> Any:
    """A Celery task body, or a result, as bytes; its `msgspec.Raw` parts go out as they are.

    kombu takes bytes from a serializer, though its type stubs ask for str.
    """
    return json_encoder.encode(body)


def decode_body(body: bytes | str) -> tuple[list[msgspec.Raw], dict[str, Any], dict[str, Any]]:
    """The args, kwargs and embed of a Celery task body, each argument left unparsed."""
    return _body_decoder.decode(body)
