"""What may stand in a log: errors without what was written, text without passwords. Pure."""

from __future__ import annotations

import re
import traceback
from types import TracebackType

from psycopg2 import Error as DriverError
from sqlalchemy.exc import DBAPIError

from api_client.contract.errors import StorageError
from worker.retry import PERMANENT_STATES, TryAgain

_MOST_CHARACTERS = 1000
#: Whose errors say what has happened to a connection, a file or a process, and quote nothing that
#: was written. The text of any other error may quote it: `ValueError` and `KeyError` do.
_TELLING = ("amqp.", "billiard.", "celery.", "kombu.", "redis.", "sqlalchemy.")

_URL = re.compile(r"\b(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>]+)")
_ASSIGNED = re.compile(
    r"(?i)\b([\w-]*(?:password|passwd|secret|token|api_?key|access_?key)[\w-]*['\"]?\s*[=:]\s*)"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)"
)
#: Redis quotes what it did not understand.
_QUOTED_BY_REDIS = re.compile(r"(with args beginning with:).*", re.DOTALL)


def mask(text: str) -> str:
    """``text`` without the passwords, user names and query strings of URLs, and without what
    stands behind ``password=`` and the like."""
    if "://" in text:
        text = _URL.sub(_masked_url, text)
    # Most texts hold nothing of the kind, and a search by the expression is slow.
    return _ASSIGNED.sub(r"\1***", text) if "=" in text or ":" in text else text


def describe(error: BaseException) -> str:
    """An error in one line, by its kind, and by its text where that quotes nothing written.

    PostgreSQL's text quotes statements, keys and rows (``LINE 1: ...``, ``DETAIL: ...``), so only
    its first part is told, and of errors that lie in what was written only the state and the names
    of table and constraint.
    """
    if isinstance(error, DBAPIError) and isinstance(error.orig, BaseException):
        return describe(error.orig)
    carried = getattr(error, "exc", None)
    if isinstance(carried, BaseException):
        # billiard's way of bringing an error, and its stack as text, from a process of the pool.
        return describe(carried)
    kind = type(error).__name__
    text = _of_driver(error) if isinstance(error, DriverError) else _told(error)
    return mask(f"{kind}: {text}"[:_MOST_CHARACTERS]) if text else kind


def describe_with_stack(error: BaseException) -> str:
    """An error, and what led to it, as Python prints them: the stack, but `describe` for the text.

    No values of variables are shown.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else f"{describe_with_stack(cause)}\n\nand then:\n\n"
    return f"{before}{_stack(error.__traceback__)}{describe(error)}"


def _masked_url(found: re.Match[str]) -> str:
    rest = found["rest"]
    credentials, at, place = rest.rpartition("@")
    place, question, _ = place.partition("?")
    del credentials
    return f"{found['scheme']}://{'***@' if at else ''}{place}{'?***' if question else ''}"


def _of_driver(error: DriverError) -> str:
    state = error.pgcode
    if state is None:
        # Of a connection: the server's answer names the user and the database.
        return " ".join(str(error).split())
    if state.startswith(PERMANENT_STATES):
        named = (error.diag.table_name, error.diag.constraint_name)
        return " ".join([f"state {state}", *(name for name in named if name)])
    return " ".join([f"state {state}:", *(error.diag.message_primary or str(error)).split()])


def _told(error: BaseException) -> str:
    module = f"{type(error).__module__}."
    known = isinstance(error, (StorageError, OSError, TryAgain)) or module == "sqlite3."
    if not (known or module.startswith(_TELLING)):
        return ""
    text = error.message if isinstance(error, StorageError) else str(error)
    return _QUOTED_BY_REDIS.sub(r"\1 ***", " ".join(text.split()))


def _stack(begin: TracebackType | None) -> str:
    if begin is None:
        return ""
    return "Traceback (most recent call last):\n" + "".join(traceback.format_tb(begin))
