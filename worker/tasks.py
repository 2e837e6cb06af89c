"""The Celery tasks: decode, call, encode. ``celery -A worker.tasks`` finds the app here."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from celery import Celery, Task
from celery.exceptions import Reject

from api_client.contract import codec
from api_client.contract.errors import ErrorRecord, InvalidRequest, StorageError, to_record
from api_client.contract.outcomes import QueryReply, WriteReply
from worker.app import make_app
from worker.broker import gate
from worker.broker.delivery import HandBack
from worker.broker.gathering import comes_again
from worker.broker.results import ResultBackend
from worker.dead_letters import Refused
from worker.http import serve_http
from worker.logs.lines import tell_answered
from worker.logs.setup import install
from worker.origin import Origin, origin
from worker.presence.beats import announce
from worker.process import deliveries, storage, tally
from worker.retry import is_transient
from worker.settings import Settings
from worker.shutdown import bound_shutdown
from worker.steps import timed
from worker.tracing.export import check_installed
from worker.work import unexpected

log = logging.getLogger(__name__)

_FAULT_PAUSE = 1.0

_settings = Settings()
app: Celery = make_app(_settings)
bound_shutdown(app, _settings.shutdown_grace)
install(_settings.log_format)
if _settings.tracing:
    check_installed()
serve_http(app, _settings)
announce(_settings.results, tally)


@app.task(name=codec.WRITE_TASK, bind=True)
def write(self: Task[Any, Any], message: msgspec.Raw) -> WriteReply:
    """Apply one message; the result is its `WriteReply`."""
    request: Any = self.request
    try:
        decoded = codec.decode_message(message)
    except StorageError as error:
        return _refuse(request.id, message, error)
    try:
        again = comes_again(request, request.delivery_info or {})
        return deliveries().apply(decoded, origin(request.id, request), again=again)
    except HandBack as error:
        raise Reject(str(error), requeue=True) from None


@app.task(name=gate.GROUP_TASK, bind=True, ignore_result=True)
def write_group(self: Task[Any, Any], group: msgspec.Raw) -> None:
    """Apply several messages that have come for the first time, and store the result of each."""
    replies: dict[str, WriteReply] = {}
    messages: dict[str, codec.Message] = {}
    origins: list[Origin] = []
    for call in codec.decode(group, list[gate.GroupedCall]):
        try:
            messages[call.task_id] = codec.decode_message(call.message)
        except StorageError as error:
            replies[call.task_id] = _refuse(call.task_id, call.message, error)
        else:
            headers = {codec.TRACES_HEADER: call.traces}
            origins.append(origin(call.task_id, headers))
    try:
        applied = deliveries().apply_together([*messages.values()], origins)
    except HandBack as error:
        raise Reject(str(error), requeue=True) from None
    replies.update(zip(messages, applied, strict=True))
    _store(self, replies)


# Acknowledged early: whoever asked asks again, and a query that kills its process must not come
# back by itself.
@app.task(name=codec.READ_TASK, bind=True, acks_late=False)
def read(self: Task[Any, Any], query: msgspec.Raw) -> QueryReply:
    """Answer one query; the result is its `QueryReply`."""
    operation = ""
    with timed() as durations:
        try:
            decoded = codec.decode_query(query)
            operation = codec.name_of(decoded)
            reply = storage().query(decoded)
        except StorageError as error:
            reply = QueryReply(error=to_record(error))
        except Exception as error:
            reply = QueryReply(error=to_record(unexpected(error)))
    request: Any = self.request
    tell_answered(origin(request.id, request), operation, reply, durations)
    return reply


@app.task(name=gate.BURY_TASK, bind=True, ignore_result=True)
def bury(self: Task[Any, Any], call: msgspec.Raw) -> None:
    """Keep what the gate has refused as a dead letter, and tell who waits for it."""
    try:
        refused = gate.read_bury_call(call)
    except StorageError as error:
        headers = {"task": self.name, "id": self.request.id}
        _keep(gate.refused(headers, bytes(call), error.message))
        return
    _keep(refused)
    if refused.task_id and refused.task in (codec.WRITE_TASK, codec.READ_TASK):
        reply = WriteReply(error=ErrorRecord(InvalidRequest.code, refused.reason, "message"))
        self.backend.store_result(refused.task_id, reply, "SUCCESS")


def _refuse(task_id: str, message: msgspec.Raw, error: StorageError) -> WriteReply:
    """Keep a message that cannot be read; return the reply to it."""
    headers = {"task": codec.WRITE_TASK, "id": task_id}
    _keep(gate.refused(headers, bytes(message), error.message))
    return WriteReply(error=to_record(error))


def _keep(refused: Refused) -> None:
    try:
        storage().keep_refused(refused)
    except Exception as error:
        if not is_transient(error):
            # A fault of ours; it comes again at once, and would fill the log.
            log.exception("a refused message cannot be kept")
            time.sleep(_FAULT_PAUSE)
        raise Reject(str(error), requeue=True) from None


def _store(task: Task[Any, Any], replies: Mapping[str, WriteReply]) -> None:
    backend = task.backend
    if isinstance(backend, ResultBackend):
        backend.store_replies(replies)
    else:
        for task_id, reply in replies.items():
            backend.store_result(task_id, reply, "SUCCESS")
