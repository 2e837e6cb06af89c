"""Celery's Redis result backend, for results that nobody loses by losing them."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from redis.exceptions import RedisError

from worker.retry import Trouble

_trouble = Trouble()


class ResultBackend(RedisBackend):
    """Stores results, and goes on if it cannot.

    A client that gets no result sends its message again, and the ledger has the outcomes. By
    default a process would wait for Redis for twenty seconds, and then log a traceback, for each.
    """

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        """Take each result for the first one of its id.

        Celery looks before it stores one, in order not to replace a success. Here each sending has
        an id of its own, and a copy of it brings the same outcomes.
        """
        return {"status": states.PENDING, "result": None}

    def store_result(self, task_id: str, result: Any, state: str, *more: Any, **named: Any) -> Any:
        """Store one, or log once a minute that it cannot be done."""
        try:
            return super().store_result(task_id, result, state, *more, **named)
        except (RedisError, OSError) as error:
            _trouble.log(error)
            return result
