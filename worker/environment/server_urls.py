"""Whether URLs of servers say what the libraries understand. Nothing is connected to.

Without this a slip ends a worker with a stack of kombu's, once it has started, or is passed over:
redis-py takes ``redis://host/one`` for database 0.
"""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis import ConnectionPool
from redis.exceptions import RedisError

from api_client.contract.amqp_tls import tls_arguments
from api_client.contract.queues import AMQP_SCHEMES, REDIS_SCHEMES, is_amqp
from api_client.contract.server_url import split_url, tls_options

_REDIS = tuple(scheme.removesuffix("://") for scheme in REDIS_SCHEMES)
_BROKERS = (*_REDIS, *(scheme.removesuffix("://") for scheme in AMQP_SCHEMES))
_TLS = ("rediss", "amqps")
_VERIFY = "ssl_cert_reqs"


def is_redis(url: str) -> bool:
    """Whether a server is a Redis that is reached directly."""
    return urlsplit(url).scheme in _REDIS


def check_broker_url(url: str) -> None:
    """Look at the URL of a broker, or at those of a RabbitMQ cluster with semicolons between.

    Raises:
        ValueError: it names no broker that is known here, or not rightly. The message shows no
            more of it than names of options, since a part may be a piece of a password in which
            a special character was not escaped.
    """
    parts = url.split(";")
    for part in parts:
        found = _checked(part, _BROKERS)
        if found.scheme in _REDIS and len(parts) > 1:
            raise ValueError(
                "of Redis, give one URL; behind Sentinel, an address that follows the primary"
            )
        options = tls_options(found)
        if found.scheme in _REDIS:
            _check_redis(part, found)
        else:
            tls_arguments(options, "")


def with_verification(url: str) -> str:
    """The URL of a server, or of several of RabbitMQ, for Celery: with TLS each says that the
    certificate is verified, unless it says something about that. kombu would not verify that of
    Redis, Celery's result backend fails, and a later host of RabbitMQ's would take over what the
    first one says."""
    parts = url.split(";") if is_amqp(url) else [url]
    return ";".join(map(_with_verification, parts))


def _with_verification(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _TLS or _VERIFY in dict(parse_qsl(parts.query)):
        return url
    return f"{url}{'&' if '?' in url else '?'}{_VERIFY}=required"


def check_result_url(url: str) -> None:
    """Look at the URL of the Redis with results.

    Raises:
        ValueError: as `check_broker_url`.
    """
    _check_redis(url, _checked(url, _REDIS))


def _checked(url: str, schemes: tuple[str, ...]) -> SplitResult:
    parts = split_url(url)
    if parts.scheme not in schemes or "://" not in url:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"the URL must begin with one of {known}")
    return parts


def _check_redis(url: str, parts: SplitResult) -> None:
    database = parts.path.strip("/")
    if database and not database.isdecimal():
        raise ValueError("what follows the host must be the number of a database, such as /0")
    try:
        pool = ConnectionPool.from_url(url)
        # What a pool does for its first connection, which is not opened yet.
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, RedisError):
        given = parse_qsl(parts.query, keep_blank_values=True)
        names = ", ".join(name for name, _ in given) or "none"
        raise ValueError(
            f"the URL has an option that Redis' client does not take, or with a wrong value "
            f"(options: {names})"
        ) from None
