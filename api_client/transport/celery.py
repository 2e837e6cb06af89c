"""Messages and queries as Celery tasks; replies through the Redis result backend.

Replies are not awaited through Celery: its consumer subscribes to each task by itself, and can miss
a reply between looking and subscribing (``celery/backends/redis.py``, ``_reconnect_pubsub``).
`ResultReader` subscribes once.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

import msgspec
from redis.exceptions import RedisError

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest, StorageError, Unavailable
from api_client.contract.outcomes import QueryReply, WriteReply
from api_client.contract.queues import is_amqp
from api_client.transport.base import BlobFile, OnQueryReply, OnWriteReply
from api_client.transport.publishers import SOCKET_OPTIONS, Publisher, RedisPublisher
from api_client.transport.questions import Questions
from api_client.transport.results import ResultReader
from api_client.transport.staging import BlobStore, BlobStoreStager, RedisStager
from api_client.transport.uploads import Uploads

log = logging.getLogger(__name__)

#: Seconds by which the clocks of two machines may differ.
_CLOCK_SECONDS = 60.0
#: Characters of the prefix that may be told; with all of them, results could be read.
_CLIENT_CHARACTERS = 8


class CeleryTransport:
    """A `Transport` over a Celery broker.

    Parameters:
        broker_url: where tasks go.
        result_url: the Redis that holds results and staged bytes.
        blobs: the workers' blob store, if this process can reach it; large bytes then go
            straight there instead of through Redis.

    Raises:
        InvalidRequest: the broker's URL is malformed, or has an unknown option.
        ValueError: that of the results is, or has.
    """

    #: The broker keeps what it has taken, as well as it is set up to.
    durable = True

    def __init__(self, broker_url: str, result_url: str, blobs: BlobStore | None = None):
        # Whoever knows a task id can read its result, so ids cannot be guessed.
        self._prefix = secrets.token_hex(16)
        #: By which this client and its workers name it in their logs.
        self._client = self._prefix[:_CLIENT_CHARACTERS]
        self._publisher = _publisher(broker_url)
        self._results = ResultReader(result_url, self._prefix, SOCKET_OPTIONS)
        self._questions = Questions(self._send_question, self._forget_question)
        self._through_redis = Uploads(RedisStager(self._results.redis), self._questions)
        self._directly = None if blobs is None else BlobStoreStager(blobs)

    def start(self, on_write: OnWriteReply, on_query: OnQueryReply) -> None:
        """See `Transport.start`."""

        def on_result(name: str, result: msgspec.Raw) -> None:
            kind, _, own_id = name.partition(".")
            self._tell("a reply has come", own_id, bytes=len(bytes(result)))
            try:
                if kind == "w":
                    on_write(own_id, codec.decode(result, WriteReply))
                elif kind == "q":
                    self._questions.answered(own_id, codec.decode(result, QueryReply))
                else:
                    on_query(own_id, codec.decode(result, QueryReply))
            except StorageError as error:
                log.error("a reply cannot be read by this release: %s", error)

        self._results.start(on_result)

    def stage_early(self, blob: BlobFile) -> None:
        """See `Transport.stage_early`."""
        if self._directly is not None:
            self._directly.stage_early(blob)

    def stage(self, blobs: Sequence[BlobFile], *, missed: bool) -> None:
        """See `Transport.stage`."""
        if self._directly is not None:
            try:
                # If a worker misses what is all there, it uses another blob store. Otherwise they
                # have waited for so long that they were swept.
                if self._directly.stage(blobs) or not missed:
                    return
            except Unavailable as error:
                log.warning("%s; the bytes go through Redis instead", str(error))
        try:
            self._through_redis.stage(blobs, missed=missed)
        except RedisError as error:
            raise Unavailable(f"bytes could not be staged in Redis: {error}") from error

    def send_message(self, message_id: str, body: bytes, traces: Sequence[str] = ()) -> None:
        """See `Transport.send_message`."""
        self._send(codec.WRITE_TASK, f"w.{message_id}", body, traces=traces)

    def send_query(self, query_id: str, body: bytes, expires: float) -> None:
        """See `Transport.send_query`."""
        # Clocks differ; a minute more costs nothing, a minute less would lose the query.
        expires += _CLOCK_SECONDS
        self._send(codec.READ_TASK, f"r.{query_id}", body, expires)

    def forget(self, request_id: str) -> None:
        """See `Transport.forget`. Its result is deleted from Redis."""
        for kind in ("w", "r"):
            self._results.forget(f"{kind}.{request_id}")

    def close(self) -> None:
        """See `Transport.close`."""
        self._questions.close()
        self._results.close()
        self._publisher.close()

    def _send_question(self, question_id: str, body: bytes, expires: float) -> None:
        expires += _CLOCK_SECONDS
        self._send(codec.READ_TASK, f"q.{question_id}", body, expires)

    def _forget_question(self, question_id: str) -> None:
        self._results.forget(f"q.{question_id}")

    def _send(
        self,
        task: str,
        name: str,
        body: bytes,
        expires: float | None = None,
        traces: Sequence[str] = (),
    ) -> None:
        request_id = self._results.expect(name)
        tries = int(request_id.rpartition(".")[2])
        task_id = f"{self._prefix}.{request_id}"
        headers = codec.own_headers(tries, traces)
        self._publisher.publish(task, task_id, body, headers=headers, expires=expires)
        own_id = name.partition(".")[2]
        self._tell("a request is sent", own_id, queue=task, tries=tries, bytes=len(body))

    def _tell(self, event: str, request_id: str, **fields: object) -> None:
        """Log a request on its way, by the id of its message or query."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug(event, extra={"client": self._client, "request": request_id, **fields})


def _publisher(broker_url: str) -> Publisher:
    try:
        if not is_amqp(broker_url):
            return RedisPublisher(broker_url)
        # Imported late: it takes longer than all the rest of the client.
        from api_client.transport.amqp_publisher import AmqpPublisher

        return AmqpPublisher(broker_url)
    except ValueError as error:
        raise InvalidRequest(f"broker_url: {error}", field="broker_url") from error
