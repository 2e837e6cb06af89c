"""Counts how often a message has ended its process, so that one which does so again and again is
given up.

The count is kept in Redis, outside the process that may die and the database that may be down.
Only messages that come again are counted: the first delivery of a healthy one costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from api_client.contract.records import new_id

log = logging.getLogger(__name__)

#: Seconds for which a count is kept after the last try.
_KEPT_SECONDS = 7 * 86_400
#: The field that counts tries which failed although their process lives on. The other fields are
#: the names of those who have begun a try.
_FAILED = b"failed"
_UNKNOWN = "unknown-"


class Attempts:
    """Two counts for each message: tries that ended in no known way, and tries handed back.

    Several copies of a message may be tried at the same time, so a try that has begun and not
    ended is not one that has died: that is one whose process has lost its connection to Redis.

    Parameters:
        redis: where they are kept. While it cannot be reached, nothing is counted.
    """

    def __init__(self, redis: Redis):
        self._redis = redis
        self._presence: Redis | None = None

    def begin(self, message_id: str) -> int:
        """Note a new try of a message that has come before; return how many have died, counting
        the first, which nobody noted."""
        key = f"zdk:tries:{message_id}"
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hgetall(key)
                pipeline.hset(key, self._name(), "")
                pipeline.expire(key, _KEPT_SECONDS)
                before: dict[bytes, bytes] = pipeline.execute()[0]
            failed = int(before.pop(_FAILED, 0))
            return 1 + failed + len(before) - self._alive(before)
        except RedisError as error:
            log.warning("tries cannot be counted", extra={"error": error})
            return 0

    def survived(self, message_id: str) -> None:
        """Forget the tries of a message whose process lives."""
        try:
            self._redis.delete(f"zdk:tries:{message_id}")
        except RedisError as error:
            log.warning("tries cannot be forgotten", extra={"error": error})

    def failed(self, message_id: str) -> None:
        """Count a try as if it had ended its process."""
        key = f"zdk:tries:{message_id}"
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hdel(key, self._name())
                pipeline.hincrby(key, _FAILED, 1)
                pipeline.expire(key, _KEPT_SECONDS)
                pipeline.execute()
        except RedisError as error:
            log.warning("tries cannot be counted", extra={"error": error})

    def handed_back(self, message_id: str) -> int:
        """Count a try that met passing trouble; return how many have."""
        key = f"zdk:handed-back:{message_id}"
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, _KEPT_SECONDS)
                return int(pipeline.execute()[0])
        except RedisError as error:
            log.warning("tries cannot be counted", extra={"error": error})
            return 0

    def _name(self) -> str:
        """Redis' id of a connection that this process keeps open as long as it lives."""
        try:
            if self._presence is None:
                self._presence = self._redis.client()  # type: ignore[no-untyped-call]
            return str(self._presence.client_id())
        except ResponseError:
            # A Redis that does not tell: nobody will find this one alive.
            return f"{_UNKNOWN}{new_id()}"

    def _alive(self, names: Iterable[bytes]) -> int:
        """How many of these connections are still there."""
        ids = [int(name) for name in names if not name.startswith(_UNKNOWN.encode())]
        try:
            return len(self._redis.client_list(client_id=[*ids])) if ids else 0
        except ResponseError as error:
            log.warning("it cannot be told which tries are going on", extra={"error": error})
            return 0
