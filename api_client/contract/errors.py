"""The errors of ZDK Storage, one tree, each with a code that crosses the wire.

::

    StorageError
    ├── InvalidRequest        invalid_request   the request breaks a rule of the contract
    │   └── TooLarge          too_large         a size limit is exceeded
    ├── NotFound              not_found         no such session or artifact for this app and user
    ├── AlreadyExists         already_exists    a session of that key exists
    ├── Conflict              conflict          expected_revision, or a message id, does not match
    ├── Forbidden             forbidden         the caller may not do this
    ├── OutboxFull            outbox_full       the client's outbox has reached its limit
    └── Unavailable           unavailable       a part is down; the same request may succeed later
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class StorageError(Exception):
    """Base of every error raised by the client or recorded by a worker.

    Parameters:
        message: what is wrong and what to do, in words.
        field: the offending field, dotted as in ``events[0].author``, if there is one.
        limit: the limit that was exceeded, in the unit the message names, if there is one.
    """

    code: ClassVar[str] = "storage_error"

    def __init__(self, message: str, *, field: str | None = None, limit: int | None = None):
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive pickling by default, and test
        # runners and process pools pickle them.
        return (_rebuild, (type(self), self.message, self.field, self.limit))


def _rebuild(
    kind: type[StorageError], message: str, field: str | None, limit: int | None
) -> StorageError:
    return kind(message, field=field, limit=limit)


class InvalidRequest(StorageError):
    """The request breaks a rule of the contract; nothing was written."""

    code = "invalid_request"


class TooLarge(InvalidRequest):
    """A size limit of the contract is exceeded; nothing was written."""

    code = "too_large"


class NotFound(StorageError):
    """There is no such session, artifact or version for this app and user."""

    code = "not_found"


class AlreadyExists(StorageError):
    """A session with this key exists already."""

    code = "already_exists"


class Conflict(StorageError):
    """``expected_revision`` is not the session's revision, or a message id was used twice."""

    code = "conflict"


class Forbidden(StorageError):
    """The caller may not do this."""

    code = "forbidden"


class OutboxFull(StorageError):
    """The client's outbox holds as much as it may; nothing was accepted."""

    code = "outbox_full"


class Unavailable(StorageError):
    """A part the operation needs is down or closed; the same request may succeed later."""

    code = "unavailable"


ERRORS: dict[str, type[StorageError]] = {
    kind.code: kind
    for kind in (
        InvalidRequest,
        TooLarge,
        NotFound,
        AlreadyExists,
        Conflict,
        Forbidden,
        OutboxFull,
        Unavailable,
    )
}


class ErrorRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it crosses the wire: plain data, readable by any language.

    Attributes:
        code: one of the codes above; a reader treats an unknown code as a plain failure.
        message: for people.
        field: the offending field, if any.
        limit: the exceeded limit, if any.
    """

    code: str
    message: str
    field: str | None = None
    limit: int | None = None


def to_record(error: StorageError) -> ErrorRecord:
    """The record of ``error``."""
    return ErrorRecord(error.code, error.message, error.field, error.limit)


def from_record(record: ErrorRecord) -> StorageError:
    """The error of ``record``; a code that this release does not know gives a `StorageError`."""
    kind = ERRORS.get(record.code, StorageError)
    return kind(record.message, field=record.field, limit=record.limit)
