"""Opens a Redis by its URL, all of which is looked at before anything is sent."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from api_client.contract.server_url import check_tls_files


def open_redis(url: str, **options: Any) -> Redis:
    """A client of the Redis at ``url``; it connects when it is first used.

    Parameters:
        url: ``redis://``, ``rediss://``, ``unix://``.
        options: of each connection, as redis-py takes them.

    Raises:
        ValueError: the URL is malformed, or has an option that redis-py does not take; it would
            otherwise say so at the first connection. The message shows nothing of it, since a part
            may be a piece of a password in which a special character was not escaped. Or it names
            a file of TLS that cannot be read.
    """
    try:
        redis = Redis.from_url(url, **options)
        pool = redis.connection_pool
        # What a pool does for its first connection, which is not opened yet.
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError):
        raise ValueError(
            "the URL of Redis is malformed, or has an option that Redis' client does not take; "
            "special characters in user and password are escaped, such as %2F for /"
        ) from None
    check_tls_files(url)
    return redis
