"""What a worker has taken from its queues and not acknowledged, as kombu keeps it in Redis.

kombu writes each delivery into a hash and its time into an index, and waits for the answer before
anything is done with the message (``kombu/transport/redis.py``, ``QoS``). Nothing depends on that
answer, so here it is read later. The outbox sends again what is lost meanwhile, as it does with
what is lost between pop and record in any case.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from redis import ConnectionPool
from redis.exceptions import ResponseError

#: Answers that are not read yet. Beyond so many, they are waited for.
_MOST_UNREAD = 1000

_Command = tuple[str | bytes | float, ...]


class Unacked:
    """Records deliveries over a connection of its own, all those of one moment at once.

    Parameters:
        pool: makes the connection.
        hash_key, index_key: where kombu looks for what is to be delivered again.
        refused: told of a delivery that Redis has refused to record, and why.
    """

    def __init__(
        self,
        pool: Callable[[], ConnectionPool],
        hash_key: str,
        index_key: str,
        refused: Callable[[str, ResponseError], None],
    ):
        self._pool = pool
        self._hash = hash_key
        self._index = index_key
        self._refused = refused
        self._connection: Any = None
        self._commands: list[_Command] = []
        #: What each of those is about; None for an acknowledgement.
        self._tags: list[str | None] = []
        #: The same of commands that were sent, and whose answers have not been read.
        self._sent: deque[str | None] = deque()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to `flush`."""
        return bool(self._commands)

    def record(self, tag: str, payload: dict[str, Any], queue: str) -> None:
        """Record a delivery with the next `flush`.

        Parameters:
            tag: its delivery tag.
            payload: the message, in kombu's form.
            queue: where it goes if it is to be delivered again.
        """
        value = msgspec.json.encode([payload, "", queue])
        # Should only the first reach Redis, kombu drops it when it is due.
        self._add(("ZADD", self._index, time.time(), tag), tag)
        self._add(("HSET", self._hash, tag, value), tag)

    def forget(self, tag: str) -> None:
        """Remove a delivery with the next `flush`."""
        self._add(("HDEL", self._hash, tag), None)
        self._add(("ZREM", self._index, tag), None)

    def flush(self) -> None:
        """Send what there is, and read the answers that have come to what was sent before.

        Raises:
            redis.exceptions.RedisError, OSError: Redis cannot be reached.
        """
        commands, self._commands = self._commands, []
        tags, self._tags = self._tags, []
        try:
            connection = self._connected()
            while self._sent and (len(self._sent) > _MOST_UNREAD or connection.can_read(0)):
                self._read(connection)
            connection.send_packed_command(connection.pack_commands(commands))
        except Exception:
            self._disconnect()
            raise
        self._sent.extend(tags)

    def drain(self) -> None:
        """Wait for the answers to all that was sent. Raises as `flush` does."""
        try:
            while self._sent:
                self._read(self._connected())
        except Exception:
            self._disconnect()
            raise

    def close(self) -> None:
        """Give the connection up, with what was not sent."""
        self._commands, self._tags = [], []
        self._disconnect()

    def _read(self, connection: Any) -> None:
        tag = self._sent.popleft()
        try:
            connection.read_response()
        except ResponseError as error:
            if tag is not None:
                self._refused(tag, error)

    def _add(self, command: _Command, tag: str | None) -> None:
        self._commands.append(command)
        self._tags.append(tag)

    def _connected(self) -> Any:
        if self._connection is None:
            # None of the pool's own, which end before it is settled what is put back.
            self._connection = self._pool().make_connection()
        return self._connection

    def _disconnect(self) -> None:
        self._sent.clear()
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
