"""The two Celery tasks: decode, call, encode. ``celery -A worker.tasks`` finds the app here."""

from __future__ import annotations

from typing import Any

import msgspec
from celery import Celery, Task
from celery.exceptions import Reject

from api_client.contract import codec
from api_client.contract.errors import StorageError, to_record
from api_client.contract.outcomes import QueryReply, WriteReply
from worker.app import make_app
from worker.process import storage
from worker.retry import is_transient
from worker.settings import Settings

app: Celery = make_app(Settings())

#: How often a message may meet a dying process before it is given up.
_ATTEMPTS = 5
_OPTIONS: dict[str, Any] = {"bind": True, "max_retries": _ATTEMPTS, "default_retry_delay": 0}


@app.task(name=codec.WRITE_TASK, **_OPTIONS)
def write(self: Task[Any, Any], message: Any) -> WriteReply:
    """Apply one message; the result is its `WriteReply`."""
    store = storage()
    try:
        (reply,) = store.apply([codec.decode_message(_raw(message))])
    except StorageError as error:
        return WriteReply(error=to_record(error))
    except Exception as error:
        raise _handed_back(error) from error
    return reply


@app.task(name=codec.READ_TASK, **_OPTIONS)
def read(self: Task[Any, Any], query: Any) -> QueryReply:
    """Answer one query; the result is its `QueryReply`."""
    store = storage()
    try:
        return store.query(codec.decode_query(_raw(query)))
    except StorageError as error:
        return QueryReply(error=to_record(error))
    except Exception as error:
        raise _handed_back(error) from error


def _raw(body: Any) -> bytes | msgspec.Raw:
    """The JSON of an argument: as it came from our client, re-encoded from a plain publisher."""
    return body if isinstance(body, msgspec.Raw) else codec.encode_plain(body)


def _handed_back(error: Exception) -> Exception:
    """Passing trouble puts the message back at the end of its queue; order does not depend on
    the queue. Anything else is a fault of ours, and fails the task."""
    return Reject(str(error), requeue=True) if is_transient(error) else error
