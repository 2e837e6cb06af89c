"""The way from a command's options to the storage, and how long to wait for it."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.text import Text

from api_client.artifacts import Artifacts
from api_client.cli.output import console, note, visible
from api_client.client import StorageClient
from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.receipts import Receipt
from api_client.sessions import Sessions

T = TypeVar("T")

_MAX_TIMEOUT = 7 * 86_400.0
#: Seconds after which a person is told that something is going on.
_SILENCE = 0.4
#: Errors that are remembered.
_ERRORS = 20
#: Seconds to wait longer for a read than the client does, because its error says more.
_GRACE = 1.0


@dataclass(frozen=True)
class Target:
    """Which storage to use, as the options say.

    Attributes:
        broker, results, outbox: as of `StorageClient`. There is no outbox file unless one is
            given, because an agent's own is locked while it runs.
        local: work in this process, on the next two.
        database, artifacts: as of `StorageClient.local`; without ``local``, the latter is the
            workers' blob store, if this process can reach it.
        timeout: seconds that each wait may take.
    """

    broker: str | None
    results: str | None
    outbox: str | None
    local: bool
    database: str | None
    artifacts: str | None
    timeout: float

    def open(self) -> StorageClient:
        """A client for it.

        Raises:
            InvalidRequest: the options do not say which, or one of them is wrong.
            Unavailable: the outbox is in use, or the local database is down.
        """
        if not 0 < self.timeout <= _MAX_TIMEOUT:
            raise InvalidRequest(
                f"--timeout must be more than 0 and at most {_MAX_TIMEOUT:.0f} seconds",
                field="timeout",
            )
        if self.local:
            return self._open_local()
        if self.broker is None:
            raise InvalidRequest(
                "no broker is given: use --broker URL or set ZDK_BROKER_URL (zdk up prints it), "
                "or use --local",
                field="broker",
            )
        return StorageClient(
            self.broker,
            self.outbox,
            result_url=self.results,
            artifacts_url=self.artifacts,
            read_timeout=self.timeout,
        )

    def _open_local(self) -> StorageClient:
        # Without a place for the bytes, an artifact's row would outlive them.
        if self.database is None or self.artifacts is None:
            raise InvalidRequest(
                "--local needs --database and --artifacts (or ZDK_DATABASE_URL and "
                "ZDK_ARTIFACTS_URL), such as --database sqlite:///zdk.db --artifacts ./blobs",
                field="database" if self.database is None else "artifacts",
            )
        return StorageClient.local(
            self.database, self.artifacts, self.outbox, read_timeout=self.timeout
        )


class Connection:
    """A client, and waits that end.

    Attributes:
        client: the client.
        sessions, artifacts: its methods.
    """

    def __init__(self, client: StorageClient, target: Target, troubles: Troubles):
        self.client = client
        self.sessions: Sessions = client.sessions
        self.artifacts: Artifacts = client.artifacts
        self._target = target
        self._troubles = troubles

    def read(self, receipt: Receipt[T], doing: str = "Loading") -> T:
        """The result of a load or a listing.

        Raises:
            TimeoutError: it has not come in time.
            StorageError: it has failed.
        """
        seconds = self._target.timeout
        if not _settled(receipt, seconds + _GRACE, doing):
            raise TimeoutError(
                self.explained(
                    f"only a part of the answer came within {seconds:g} s; "
                    "allow more time with --timeout"
                )
            )
        return self._result(receipt)

    def write(self, receipt: Receipt[T], doing: str = "Waiting for a worker") -> T:
        """The outcome of an operation. Raises as `read` does."""
        if not _settled(receipt, self._target.timeout, doing):
            raise TimeoutError(self.explained(self._what_becomes_of(receipt)))
        return self._result(receipt)

    def _result(self, receipt: Receipt[T]) -> T:
        try:
            return receipt.result(0)
        except Unavailable as error:
            message = self.explained(error.message)
            raise Unavailable(message, field=error.field, limit=error.limit) from error

    def _what_becomes_of(self, receipt: Receipt[Any]) -> str:
        late = f"not applied within {self._target.timeout:g} s"
        if not receipt.accepted.done():
            where = "the database" if self._target.local else "the broker"
            return (
                f"{late}, nor taken by {where}, and given up; look whether it was done before "
                "you repeat it (zdk doctor finds what is down; --outbox keeps what is not sent)"
            )
        if self._target.outbox is not None:
            return f"{late}; it is safe in {self._target.outbox}, and goes on when that is opened"
        return (
            f"{late}, but the broker has taken it: it is applied as soon as a worker runs, "
            "so do not repeat it (zdk doctor finds what is down)"
        )

    def explained(self, message: str) -> str:
        """``message``, with the last trouble that was logged."""
        trouble = self._troubles.last
        return message if trouble is None else f"{message}; the last trouble was: {trouble}"


@contextmanager
def connect(target: Target) -> Iterator[Connection]:
    """Open a client for ``target`` and close it afterwards."""
    with Troubles() as troubles:
        client = target.open()
        try:
            yield Connection(client, target, troubles)
        except BaseException:
            client.close(0)
            raise
        left = client.close(target.timeout)
    if left:
        # Only an outbox file can hold more than what this command has waited for.
        note(f"{left} earlier operations stay in {target.outbox} without an outcome")


class Troubles(logging.Handler):
    """Remembers what is logged, instead of printing it: the last of it explains why an answer
    did not come.

    Attributes:
        last: the last line; it may be about something that was mended.
        errors: the last few that were errors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last: str | None = None
        self.errors: deque[str] = deque(maxlen=_ERRORS)
        # The client tells at this level why it could not send.
        self._client = logging.getLogger("api_client")
        self._level = self._client.level

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self.last = record.getMessage()
        if record.levelno >= logging.ERROR:
            self.errors.append(self.last)

    def __enter__(self) -> Troubles:
        self._client.setLevel(logging.INFO)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        self._client.setLevel(self._level)


def _settled(receipt: Receipt[Any], seconds: float, doing: str) -> bool:
    """Wait for the receipt; on a terminal, say so once it takes a while."""
    if _done(receipt, min(_SILENCE, seconds)):
        return True
    with _spinner(doing):
        return _done(receipt, max(0.0, seconds - _SILENCE))


def _done(receipt: Receipt[Any], seconds: float) -> bool:
    return bool(concurrent.futures.wait([receipt], seconds).done)


def _spinner(doing: str) -> AbstractContextManager[object]:
    if not sys.stderr.isatty():
        return nullcontext()
    return console(sys.stderr).status(Text(f"{visible(doing)} ..."))
