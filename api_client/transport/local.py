"""The worker's code in this process: no broker, the same outbox, the same outcomes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from api_client.contract import codec
from api_client.contract.codec import Message
from api_client.contract.errors import StorageError, to_record
from api_client.contract.operations import Query
from api_client.contract.outcomes import QueryReply, WriteReply
from api_client.threads import Workers
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply
from api_client.transport.staging import BlobStore, BlobStoreStager

log = logging.getLogger(__name__)

_THREADS = 4
_CLOSE_SECONDS = 30.0


class LocalStorage(Protocol):
    """What this transport needs of ``worker.storage.Storage``."""

    def apply(self, messages: Sequence[Message], *, traces: Sequence[str] = ()) -> list[WriteReply]:
        """Apply messages in one transaction."""

    def query(self, query: Query) -> QueryReply:
        """Answer one query."""

    @property
    def blobs(self) -> BlobStore:
        """Where artifact bytes go."""

    def close(self) -> None:
        """Close the database."""


class LocalTransport:
    """A `Transport` that calls a storage object in a few threads of its own.

    Parameters:
        storage: closed with the transport.
    """

    #: A message taken here is in memory only until it has been applied.
    durable = False

    def __init__(self, storage: LocalStorage):
        self._storage = storage
        self._stager = BlobStoreStager(storage.blobs)
        self._workers = Workers("zdk-local", _THREADS)

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        """See `Transport.start`."""
        self._on_write = on_write
        self._on_query = on_query

    def stage_early(self, blob: BlobFile) -> None:
        """See `Transport.stage_early`."""
        self._stager.stage_early(blob)

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """See `Transport.stage`. The bytes go straight into the blob store."""
        self._stager.stage(blobs)

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        """See `Transport.send_message`."""
        self._workers.submit(partial(self._apply, message_id, body, traces))

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        """See `Transport.send_query`."""
        self._workers.submit(partial(self._query, query_id, body))

    def forget(self, request_id: str) -> None:
        """See `Transport.forget`. Nothing is kept here."""

    def close(self) -> None:
        """See `Transport.close`."""
        self._workers.close(_CLOSE_SECONDS)
        self._storage.close()

    def _apply(self, message_id: str, body: bytes, traces: Sequence[str]) -> None:
        try:
            (reply,) = self._storage.apply([codec.decode_message(body)], traces=traces)
        except StorageError as error:
            reply = WriteReply(error=to_record(error))
        except Exception as error:
            # Without a reply the outbox sends the message again.
            log.warning("a message could not be applied and will be tried again: %s", str(error))
            return
        self._on_write(message_id, reply)

    def _query(self, query_id: str, body: bytes) -> None:
        try:
            reply = self._storage.query(codec.decode_query(body))
        except StorageError as error:
            reply = QueryReply(error=to_record(error))
        except Exception as error:
            log.warning("a query could not be answered: %s", str(error))
            return
        self._on_query(query_id, reply)
