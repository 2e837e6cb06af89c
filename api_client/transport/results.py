"""Reads the results of this client's tasks from the Redis result backend, as they come.

Celery's backend stores a result under ``celery-task-meta-<task id>`` and publishes it on a
channel of that name (``celery/backends/redis.py``, ``_set``). Task ids of one client begin with a
random prefix, so one pattern subscription, made once, hears them all. What was missed while the
connection was down is fetched by key.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from redis.client import PubSub
from redis.exceptions import RedisError

from api_client.transport.redis_urls import open_redis

log = logging.getLogger(__name__)

_KEY = "celery-task-meta-"
#: Seconds without a reply after which it is looked for by key, in case it was missed.
_LOOK_AFTER = 2.0
#: Seconds of one wait for a message; closing takes as long.
_LISTEN_SECONDS = 0.05
#: Seconds between two tries to reach Redis.
_RECONNECT_PAUSE = 0.5
#: Seconds between two looks for missed results and deletions of read ones.
_TIDY_EVERY = 0.5
_KEYS_AT_ONCE = 1000
_CLOSE_SECONDS = 10.0

#: The status of a notice (`codec.RESULT_NOTICE`).
_STORED = "STORED"

#: Called with a request's name and the task's result as JSON.
OnResult = Callable[[str, msgspec.Raw], None]


class _Meta(msgspec.Struct):
    """The parts of Celery's stored result that matter here."""

    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")


class ResultReader:
    """Hands out results of tasks whose id is ``<prefix>.<request's name>.<number of the try>``.

    Each try has an id of its own, because the backend never replaces a stored success
    (``celery/backends/base.py``, ``_store_result``).

    Parameters:
        url: of the Redis result backend.
        prefix: of this client's task ids.
        options: of the connection, as redis-py takes them.

    Raises:
        ValueError: the URL is malformed, or has an unknown option.
    """

    def __init__(self, url: str, prefix: str, options: Mapping[str, Any]):
        # With version 3, redis-py makes text for its log of every reply, which may have megabytes
        # (``redis/_parsers/resp3.py``, ``handle_pubsub_push_response``).
        self.redis = open_redis(url, protocol=2, **options)
        self._prefix = f"{_KEY}{prefix}."
        #: When to look for a result by key, by the id of the try.
        self._expected: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()
        self._forgotten: deque[str] = deque()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_result: OnResult) -> None:
        """Begin to read, in a thread of its own."""
        self._on_result = on_result
        self._thread = threading.Thread(target=self._run, name="zdk-results", daemon=True)
        self._thread.start()

    def expect(self, name: str) -> str:
        """Expect the result of a new try of request ``name``; return the try's id."""
        with self._lock:
            number = self._tries[name] = self._tries.get(name, 0) + 1
            request_id = f"{name}.{number}"
            self._expected[request_id] = time.monotonic() + _LOOK_AFTER
        return request_id

    def forget(self, name: str) -> None:
        """Stop expecting results of request ``name``, and delete them soon."""
        with self._lock:
            for number in range(1, self._tries.pop(name, 0) + 1):
                self._expected.pop(f"{name}.{number}", None)
                self._forgotten.append(f"{self._prefix}{name}.{number}")

    def close(self) -> None:
        """Delete what was forgotten, and end."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        self.redis.close()

    def _run(self) -> None:
        complained = False
        while not self._closed.is_set():
            try:
                self._listen()
                complained = False
            except RedisError as error:
                if not complained:
                    log.warning("results cannot be read, trying again: %s", str(error))
                complained = True
                self._closed.wait(_RECONNECT_PAUSE)

    def _listen(self) -> None:
        pubsub: PubSub = self.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        with pubsub:
            pubsub.psubscribe(f"{self._prefix}*")
            # The first message confirms the subscription; what came before is fetched by key.
            pubsub.get_message(timeout=_LOOK_AFTER)
            self._look(everything=True)
            tidy_at = 0.0
            while not self._closed.is_set():
                message = pubsub.get_message(timeout=_LISTEN_SECONDS)
                if message is not None:
                    self._hand_out(message["channel"].decode(), message["data"])
                if time.monotonic() >= tidy_at:
                    self._look(everything=False)
                    self._delete_forgotten()
                    tidy_at = time.monotonic() + _TIDY_EVERY
        self._delete_forgotten()

    def _look(self, *, everything: bool) -> None:
        now = time.monotonic()
        with self._lock:
            wanted = [r for r, due in self._expected.items() if everything or due <= now]
            self._expected.update(dict.fromkeys(wanted, now + _LOOK_AFTER))
        if not wanted:
            return
        keys = [self._prefix + request_id for request_id in wanted]
        for key, data in zip(keys, self.redis.mget(keys), strict=True):
            if data is not None:
                self._hand_out(key, data)

    def _hand_out(self, key: str, data: bytes | str) -> None:
        try:
            meta = msgspec.json.decode(data, type=_Meta)
        except msgspec.MsgspecError as error:
            log.error("a result cannot be read: %s", error)
            return
        if meta.status == _STORED and (stored := self.redis.get(key)) is not None:
            self._hand_out(key, stored)
        if meta.status not in ("SUCCESS", "FAILURE"):
            return
        request_id = key.removeprefix(self._prefix)
        with self._lock:
            self._expected.pop(request_id, None)
        if meta.status == "SUCCESS":
            self._on_result(request_id.rpartition(".")[0], meta.result)
        else:
            # The outbox sends the message again; the worker's log has the details.
            log.warning("a task failed: %s", bytes(meta.result)[:500].decode(errors="replace"))

    def _delete_forgotten(self) -> None:
        while self._forgotten:
            count = min(len(self._forgotten), _KEYS_AT_ONCE)
            self.redis.unlink(*(self._forgotten.popleft() for _ in range(count)))
