"""Counts how often a message has been tried, so that one which kills its process is given up.

The count is kept in Redis, outside the process that may die and the database that may be down.
Only messages that come again are counted: the first delivery of a healthy one costs nothing.
"""

from __future__ import annotations

import logging

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

#: Seconds for which a count is kept after the last try.
_KEPT_SECONDS = 7 * 86_400


class Attempts:
    """Two counts for each message: tries that ended in no known way, and tries handed back.

    Parameters:
        redis: where they are kept. While it cannot be reached, nothing is counted.
    """

    def __init__(self, redis: Redis):
        self._redis = redis

    def begin(self, message_id: str) -> int:
        """Count a new try of a message that has come before; return how many have begun."""
        return self._count(f"zdk:tries:{message_id}")

    def survived(self, message_id: str) -> None:
        """Forget the tries of a message whose process lives."""
        try:
            self._redis.delete(f"zdk:tries:{message_id}")
        except RedisError as error:
            log.warning("tries cannot be forgotten: %s", error)

    def handed_back(self, message_id: str) -> int:
        """Count a try that met passing trouble; return how many have."""
        return self._count(f"zdk:handed-back:{message_id}")

    def _count(self, key: str) -> int:
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, _KEPT_SECONDS)
                return int(pipeline.execute()[0])
        except RedisError as error:
            log.warning("tries cannot be counted: %s", error)
            return 0
