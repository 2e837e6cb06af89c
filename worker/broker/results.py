"""Celery's Redis result backend, for results that nobody loses by losing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from celery import states
from celery.backends.redis import RedisBackend
from redis.exceptions import RedisError

from api_client.contract import codec
from worker.retry import Trouble

_trouble = Trouble()


class _Stored(NamedTuple):
    """A result in Redis, and what those hear who wait for it."""

    key: Any
    value: Any
    published: Any


class ResultBackend(RedisBackend):
    """Stores results, and goes on if it cannot.

    A client that gets no result sends its message again, and the ledger has the outcomes. By
    default a process would wait for Redis for twenty seconds, and then log a traceback, for each.
    """

    def store_result(self, task_id: str, result: Any, state: str, *more: Any, **named: Any) -> Any:
        """Store one, or log once a minute that it cannot be done."""
        try:
            return super().store_result(task_id, result, state, *more, **named)
        except (RedisError, OSError) as error:
            _trouble.log(error)
            return result

    def store_replies(self, replies: Mapping[str, object]) -> None:
        """Store the results of several tasks, by task id, in one round trip; log as above."""
        try:
            self._put(*(self._stored(task_id, reply) for task_id, reply in replies.items()))
        except (RedisError, OSError) as error:
            _trouble.log(error)

    def _store_result(
        self, task_id: str, result: Any, state: str, *more: Any, request: Any = None, **named: Any
    ) -> Any:
        """Store a success without looking whether there is one, as Celery does in order not to
        replace it. Here each sending has an id of its own, and a copy brings the same outcomes."""
        plain: Any = super()
        if state != states.SUCCESS:
            return plain._store_result(task_id, result, state, *more, request=request, **named)
        stored = self._stored(task_id, result)
        is_large = len(stored.value) >= codec.NOTICE_FROM_BYTES
        if is_large and (request or {}).get(codec.NOTICE_HEADER):
            stored = stored._replace(published=codec.RESULT_NOTICE)
        plain.ensure(self._put, (stored,))
        return result

    def _put(self, *results: _Stored) -> None:
        plain: Any = self
        with self.client.pipeline(transaction=False) as pipeline:
            for stored in results:
                pipeline.setex(stored.key, plain.expires, stored.value)
                pipeline.publish(stored.key, stored.published)
            pipeline.execute()

    def _stored(self, task_id: str, result: object) -> _Stored:
        plain: Any = self
        meta = plain._get_result_meta(
            result=result, state=states.SUCCESS, traceback=None, request=None
        )
        value = self.encode(meta | {"task_id": task_id})
        return _Stored(self.get_key_for_task(task_id), value, value)
