"""The client: wires outbox, transport and the two method groups."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any

from api_client.artifacts import Artifacts
from api_client.contract import codec
from api_client.contract.checks import check_count
from api_client.contract.codec import check_message_id
from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.limits import (
    MAX_DIRECT_INLINE_BYTES,
    MAX_INLINE_BYTES,
    MAX_STATUS_IDS,
)
from api_client.contract.operations import MessageStatus
from api_client.contract.outcomes import MessageState
from api_client.contract.queues import AMQP_SCHEMES, REDIS_SCHEMES
from api_client.outbox.homes import fixed, open_homes
from api_client.outbox.options import OutboxOptions
from api_client.outbox.outbox import Outbox, OutboxUsage, Tally
from api_client.outbox.schedule import ScheduleOptions
from api_client.receipts import Receipt
from api_client.requests import Requests, on
from api_client.sessions import Sessions
from api_client.transport.base import Transport

#: Seconds that a client which was never closed may take to send what it holds at exit.
_EXIT_SECONDS = 5.0
#: Seconds that stand for "without end": a year.
_LONGEST_WAIT = 366 * 86_400.0

OutboxPlace = str | os.PathLike[str] | None


class StorageClient:
    """Stores sessions and artifacts through workers, without making the caller wait.

    Every method of ``sessions`` and ``artifacts`` returns a `Receipt` at once. One client serves
    all threads and event loops of a process. A forked child that uses the client gets an outbox
    of its own, unless ``outbox`` is a single file.

    Parameters:
        broker_url: the Celery broker, such as ``redis://localhost:6379/0``.
        outbox: where operations are kept until confirmed: a file, or a folder that the processes
            of one host share. None keeps them in memory.
        result_url: the Redis that holds results; the broker if None.
        artifacts_url: the workers' blob folder (``file:///folder``), if this process can reach
            it; large artifacts then go straight there instead of through Redis.
        block: seconds that a method may wait for room in a full outbox before `OutboxFull`; this
            and what follows in seconds may be infinite.
        wait_timeout: seconds after which ``receipt.result()`` and ``await receipt`` give up if
            they were given no timeout.
        read_timeout: seconds after which a load or a listing without a reply fails.
        max_operations, max_bytes: what the outbox may hold; if None, 10,000,000 operations and
            4 GiB in a file, 100,000 and 256 MiB in memory. Artifact bytes beside it do not count.
        window: messages on their way at a time.

    Raises:
        Unavailable: the outbox is in use by another client, or cannot be opened.
        InvalidRequest: an argument is wrong.
    """

    def __init__(
        self,
        broker_url: str,
        outbox: OutboxPlace = None,
        *,
        result_url: str | None = None,
        artifacts_url: str | None = None,
        block: float = 0.0,
        wait_timeout: float = 60.0,
        read_timeout: float = 30.0,
        max_operations: int | None = None,
        max_bytes: int | None = None,
        window: int = 8,
    ):
        if not isinstance(broker_url, str) or "://" not in broker_url:
            raise InvalidRequest(
                "broker_url must be a URL such as redis://localhost:6379/0", field="broker_url"
            )
        if not broker_url.startswith((*REDIS_SCHEMES, *AMQP_SCHEMES)):
            raise InvalidRequest(
                f"broker_url must begin with {', '.join((*REDIS_SCHEMES, *AMQP_SCHEMES[:2]))}; "
                "behind Redis Sentinel, give an address that follows the primary",
                field="broker_url",
            )
        results = result_url or broker_url
        if not str(results).startswith((*REDIS_SCHEMES, "unix://")):
            raise InvalidRequest(
                "result_url must be a Redis URL; with another broker, give one (--results, or "
                "ZDK_RESULT_URL)",
                field="result_url",
            )
        self._wire(
            partial(_celery_transport, broker_url, results, artifacts_url),
            outbox,
            inline_bytes=_inline_bytes(artifacts_url),
            block=block,
            wait_timeout=wait_timeout,
            read_timeout=read_timeout,
            options=_options(max_operations, max_bytes, window),
        )

    @classmethod
    def from_env(cls, **options: Any) -> StorageClient:
        """A client set up by ``ZDK_BROKER_URL``, ``ZDK_RESULT_URL``, ``ZDK_ARTIFACTS_URL`` and
        ``ZDK_OUTBOX``.

        Parameters:
            options: as of the class; they override the environment.

        Raises:
            InvalidRequest: ``ZDK_BROKER_URL`` is not set.
        """
        broker_url = options.pop("broker_url", None) or os.environ.get("ZDK_BROKER_URL")
        if not broker_url:
            raise InvalidRequest(
                "ZDK_BROKER_URL is not set; `zdk up` prints the exports a client needs",
                field="ZDK_BROKER_URL",
            )
        options.setdefault("result_url", os.environ.get("ZDK_RESULT_URL") or None)
        options.setdefault("artifacts_url", os.environ.get("ZDK_ARTIFACTS_URL") or None)
        options.setdefault("outbox", os.environ.get("ZDK_OUTBOX") or None)
        return cls(broker_url, **options)

    @classmethod
    def local(
        cls,
        database_url: str = "sqlite://",
        artifacts_url: str = "memory://",
        outbox: OutboxPlace = None,
        *,
        block: float = 0.0,
        wait_timeout: float = 60.0,
        read_timeout: float = 30.0,
        max_operations: int | None = None,
        max_bytes: int | None = None,
        window: int = 8,
    ) -> StorageClient:
        """A client that runs the worker's code in this process; no broker, no worker.

        The database is migrated to the present schema first. Needs the extra ``worker``.

        Parameters:
            database_url: ``sqlite:///path``, ``sqlite://`` (in memory) or
                ``postgresql+psycopg2://...``.
            artifacts_url: ``file:///folder`` or ``memory://``.
            outbox and the rest: as of the class. Without an outbox file, ``accepted`` resolves
                only when the operation is applied.

        Raises:
            Unavailable: the extra ``worker`` is not installed, or the database is down.
            InvalidRequest: an argument is wrong.
        """
        client = cls.__new__(cls)
        client._wire(
            partial(_local_transport, database_url, artifacts_url),
            outbox,
            inline_bytes=_inline_bytes(artifacts_url),
            block=block,
            wait_timeout=wait_timeout,
            read_timeout=read_timeout,
            options=_options(max_operations, max_bytes, window),
        )
        return client

    def status(self, message_ids: Sequence[str]) -> Receipt[list[MessageState]]:
        """Ask what became of messages, by the ``message_id`` of their receipts.

        Parameters:
            message_ids: at most `MAX_STATUS_IDS`.
        """
        ids = [*message_ids]
        check_count(len(ids), "message_ids", most=MAX_STATUS_IDS)
        for message_id in ids:
            check_message_id(message_id)
        query = MessageStatus(message_ids=ids)
        decode = partial(codec.decode, kind=list[MessageState])
        return self._requests.read(query, on(), decode)

    @property
    def pending(self) -> int:
        """Operations in the outbox that have no outcome yet."""
        return self._outbox.pending

    @property
    def tally(self) -> Tally:
        """What has become of operations since this client was opened, those that it found in its
        outbox included."""
        return self._outbox.tally

    @property
    def usage(self) -> OutboxUsage:
        """How full the outbox is, and how old the oldest of it."""
        return self._outbox.usage

    def flush(self, timeout: float = 30.0) -> int:
        """Wait until all operations accepted so far have their outcome.

        Blocks; in async code use ``await asyncio.to_thread(client.flush, 30)``.

        Parameters:
            timeout: seconds.

        Returns the number of operations that still have none: 0 if all have.
        """
        return self._current().flush(timeout)

    def close(self, timeout: float = 10.0) -> int:
        """Flush for at most ``timeout`` seconds, and end; if the broker does not answer, that takes
        some seconds more.

        Returns the number of operations without an outcome. With an outbox file they stay in it
        and go on when it is opened again; without one they are lost, and their receipts say so.
        """
        if os.getpid() != self._pid:
            # A forked child has neither the threads nor the right to the parent's files.
            return 0
        atexit.unregister(self._close_at_exit)
        return self._outbox.close(timeout)

    def __enter__(self) -> StorageClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> StorageClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def _wire(
        self,
        transport: Callable[[], Transport],
        place: OutboxPlace,
        *,
        inline_bytes: int,
        block: float,
        wait_timeout: float,
        read_timeout: float,
        options: OutboxOptions,
    ) -> None:
        seconds = {"block": block, "wait_timeout": wait_timeout, "read_timeout": read_timeout}
        bounded = {field: _seconds(value, field) for field, value in seconds.items()}
        self._transport = transport
        # A forked child opens it again, perhaps in another working directory.
        self._place = None if place is None else fixed(place)
        self._options = options
        self._opening = threading.Lock()
        self._inherited: list[Outbox] = []
        self._open()
        self._requests = Requests(self._current, **bounded)
        self.sessions = Sessions(self._requests)
        self.artifacts = Artifacts(self._requests, inline_bytes)
        # A program that ends without closing still sends what it holds.
        atexit.register(self._close_at_exit)

    def _open(self) -> None:
        homes = open_homes(self._place)
        try:
            self._outbox = Outbox(homes, self._transport(), self._options)
        except BaseException:
            for home in homes:
                home.journal.close()
            raise
        self._pid = os.getpid()

    def _close_at_exit(self) -> None:
        self.close(_EXIT_SECONDS)

    def _current(self) -> Outbox:
        """The outbox of this process; a forked child opens its own."""
        if os.getpid() != self._pid:
            with self._opening:
                if os.getpid() != self._pid:
                    # Kept, never closed: what it holds belongs to the parent.
                    self._inherited.append(self._outbox)
                    self._open()
        return self._outbox


def _inline_bytes(artifacts_url: str | None) -> int:
    """Up to which size an artifact rides inside its message."""
    return MAX_DIRECT_INLINE_BYTES if _is_reachable(artifacts_url) else MAX_INLINE_BYTES


def _is_reachable(artifacts_url: str | None) -> bool:
    # Another process cannot reach what a worker keeps in memory.
    return artifacts_url is not None and not artifacts_url.startswith("memory:")


def _seconds(value: object, field: str) -> float:
    """``value``, or the longest wait that there is if that is shorter."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise InvalidRequest(f"{field} must be a number of seconds, at least 0", field=field)
    return min(value, _LONGEST_WAIT)


def _options(max_operations: int | None, max_bytes: int | None, window: int) -> OutboxOptions:
    if max_operations is not None:
        check_count(max_operations, "max_operations", least=1)
    if max_bytes is not None:
        check_count(max_bytes, "max_bytes", least=1)
    check_count(window, "window", least=1)
    return OutboxOptions(max_operations, max_bytes, schedule=ScheduleOptions(window=window))


def _celery_transport(broker_url: str, result_url: str, artifacts_url: str | None) -> Transport:
    # Imported late: a local client needs no Celery, and the import is most of the client's own.
    from api_client.transport.celery import CeleryTransport

    blobs = None
    if _is_reachable(artifacts_url):
        for found in entry_points(group="zdk_storage.blobs"):
            blobs = found.load()(artifacts_url)
    try:
        return CeleryTransport(broker_url, result_url, blobs)
    except ValueError as error:
        raise InvalidRequest(f"result_url: {error}", field="result_url") from error


def _local_transport(database_url: str, artifacts_url: str) -> Transport:
    from api_client.transport.local import LocalTransport

    try:
        (found,) = entry_points(group="zdk_storage.local")
        open_storage = found.load()
    except (ValueError, ModuleNotFoundError) as error:
        raise Unavailable(
            f"a local client needs the worker's code ({error}): pip install 'zdk-storage[worker]'",
            field="local",
        ) from error
    return LocalTransport(open_storage(database_url, artifacts_url))
