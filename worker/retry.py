"""Passing trouble: what is worth trying again, and how long to wait in between."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

#: SQLSTATE classes and codes that pass by themselves: connection trouble, rollbacks forced by
#: others (deadlock, serialization), out of resources, lock timeout, shutdown.
#: https://www.postgresql.org/docs/16/errcodes-appendix.html
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
_TRANSIENT_CODES = ("55P03", "25P03", "25006")

#: Seconds before the first new try and between later ones at most.
FIRST_DELAY = 0.05
LONGEST_DELAY = 2.0


class TryAgain(Exception):
    """The transaction met a state that another one is just changing; a new try will succeed."""


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed a little later."""
    if isinstance(error, (TryAgain, PoolTimeout)):
        return True
    if isinstance(error, (OSError, RedisConnectionError, RedisTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "pgcode", None)
    if state is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_CODES


def with_retries(work: Callable[[], T], *, patience: float) -> T:
    """Run ``work`` until it succeeds, with growing, jittered pauses after transient errors.

    Parameters:
        patience: seconds after which a transient error is raised instead of tried again.
    """
    deadline = time.monotonic() + patience
    delay = FIRST_DELAY
    while True:
        try:
            return work()
        except Exception as error:
            if not is_transient(error) or time.monotonic() + delay > deadline:
                raise
            if delay == FIRST_DELAY:
                log.warning("trying again after %s: %s", type(error).__name__, error)
            time.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, LONGEST_DELAY)
