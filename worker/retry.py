"""Passing trouble: what is worth trying again, and how long to wait in between."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

#: SQLSTATE classes, and one code, of errors that lie in what is written: unsupported features,
#: data exceptions, broken constraints, limits of the program, bugs. Everything else passes by
#: itself, or once an operator has acted: connections, deadlocks, serialization, resources,
#: shutdown, a missing table or privilege.
#: https://www.postgresql.org/docs/16/errcodes-appendix.html
PERMANENT_STATES = ("0A", "22", "23", "54", "XX000")

#: Seconds before the first new try and between later ones at most.
FIRST_DELAY = 0.05
LONGEST_DELAY = 2.0


#: Seconds for which the same trouble is not logged again.
_LOG_EVERY = 60.0


class TryAgain(Exception):
    """The transaction met a state that another one is just changing; a new try will succeed."""


class Trouble:
    """Logs trouble once a minute for each kind of it, however many tries it spoils.

    Parameters:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._logged: dict[str, float] = {}

    def log(self, error: BaseException) -> None:
        """Note a try that has failed."""
        cause = getattr(error, "orig", None) or error
        kind = f"{type(cause).__name__} {getattr(cause, 'pgcode', '')}"
        now = self._clock()
        if now - self._logged.get(kind, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged[kind] = now
            log.warning("trouble, trying again until it passes", extra={"error": error})


_trouble = Trouble()


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed later, once the trouble is over."""
    if isinstance(error, (TryAgain, PoolTimeout)):
        return True
    if isinstance(error, (OSError, RedisConnectionError, RedisTimeout)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None)
    if state is not None:
        return error.connection_invalidated or not state.startswith(PERMANENT_STATES)
    return not isinstance(error, (DataError, IntegrityError, NotSupportedError))


def with_retries(
    work: Callable[[], T],
    *,
    patience: float,
    on_trouble: Callable[[], None] | None = None,
    on_retry: Callable[[], None] | None = None,
) -> T:
    """Run ``work`` until it succeeds, with growing, jittered pauses after transient errors.

    Parameters:
        patience: seconds after which a transient error is raised instead of tried again.
        on_trouble: called at the first transient error.
        on_retry: called before each new try.
    """
    deadline = time.monotonic() + patience
    delay = FIRST_DELAY
    while True:
        try:
            return work()
        except Exception as error:
            if not is_transient(error):
                raise
            _trouble.log(error)
            if on_trouble is not None:
                on_trouble()
                on_trouble = None
            if time.monotonic() + delay > deadline:
                raise
            if on_retry is not None:
                on_retry()
            time.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, LONGEST_DELAY)
