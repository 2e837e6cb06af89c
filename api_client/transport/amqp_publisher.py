"""Publishing to RabbitMQ: into quorum queues, each message confirmed before it counts as taken."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from amqp.exceptions import AMQPError, MessageNacked
from kombu import Connection
from kombu.exceptions import KombuError

from api_client.contract import codec
from api_client.contract.amqp_tls import tls_arguments
from api_client.contract.errors import Unavailable
from api_client.contract.queues import AMQP_SCHEMES, QUORUM_ARGUMENTS
from api_client.contract.server_url import check_tls_files, split_url, tls_options
from api_client.transport.publishers import call_body, call_headers

#: Seconds to connect to one of the hosts.
_CONNECT_SECONDS = 3.0
#: Seconds of silence in which the broker confirms nothing, or takes no bytes.
_SILENCE_SECONDS = 10.0
#: Seconds to wait for other threads that publish.
_TURN_SECONDS = 30.0
_ERRORS = (AMQPError, MessageNacked, KombuError, OSError)


class _Alarm(Exception):
    """The broker takes nothing, because its memory or its disk is full."""


@dataclass(frozen=True)
class _Host:
    """One host of the broker. Attributes: its URL; what py-amqp takes for TLS, if that is used."""

    url: str
    tls: dict[str, Any] | None

    @classmethod
    def of(cls, url: str) -> _Host:
        """The host that a URL names, without options of TLS, which kombu would pass on wrongly."""
        parts = split_url(url)
        if not url.startswith(AMQP_SCHEMES):
            raise ValueError(
                "each host of a cluster has a URL that begins with amqp:// or amqps://"
            )
        check_tls_files(url)
        options = tls_options(parts)
        others = [(name, value) for name, value in parse_qsl(parts.query) if name not in options]
        plain = parts._replace(query=urlencode(others)).geturl()
        if parts.scheme != "amqps":
            return cls(plain, None)
        return cls(plain, tls_arguments(options, parts.hostname or "localhost"))

    def connected(self, options: dict[str, Any]) -> Any:
        """A connection of py-amqp's."""
        host = Connection(
            self.url,
            # A copy, which kombu changes.
            ssl={**self.tls} if self.tls is not None else False,
            connect_timeout=_CONNECT_SECONDS,
            heartbeat=0,
            transport_options=options,
        )
        host.ensure_connection(max_retries=0, interval_start=0)
        return host.connection


class AmqpPublisher:
    """A `Publisher` over one channel, whose messages the broker confirms one after another.

    A message that is refused, returned because its queue is gone, or not confirmed in time counts
    as not taken; the outbox then sends it again, and the ledger makes a second copy harmless. The
    form is that of Celery's message protocol, version 2.

    The connection has no heartbeats, which a client that idles would have to send: TCP keepalive
    keeps it open, and each message shows whether it still is.

    Parameters:
        url: ``amqp://user:password@host:5672/virtual-host``, or ``amqps://`` with the options of
            `tls_arguments`; of a cluster, several with a semicolon between them.

    Raises:
        ValueError: the URL is malformed, has an unknown option, or names a file of TLS that cannot
            be read.
    """

    def __init__(self, url: str):
        #: Of each host.
        self._hosts = [_Host.of(part) for part in url.split(";")]
        self._turn = threading.Lock()
        #: py-amqp's own connection: kombu's would connect again by itself, with pauses.
        self._connection: Any = None
        self._channel: Any = None
        self._declared: set[str] = set()
        #: Whether the broker has an alarm, so far as it has told.
        self._blocked = False

    def publish(
        self,
        task: str,
        task_id: str,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        expires: float | None,
    ) -> None:
        """See `Publisher.publish`. Takes at most a minute, and seconds as a rule."""
        own = call_headers(task, task_id, headers, expires)
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise Unavailable("the broker is too slow: other messages are waiting for it")
        try:
            self._put(task, task_id, own, call_body(body))
        except _Alarm as alarm:
            # The connection stays, because over it the broker tells when the alarm is over.
            raise Unavailable("the broker has an alarm: its memory or disk is full") from alarm
        except _ERRORS as error:
            # What is confirmed later could be taken for the confirmation of the next message.
            self._disconnect()
            raise Unavailable(f"the broker has not taken the message: {error}") from error
        finally:
            self._turn.release()

    def close(self) -> None:
        """See `Publisher.close`."""
        with self._turn:
            self._disconnect()

    def _put(self, queue: str, task_id: str, headers: dict[str, Any], body: bytes) -> None:
        channel = self._ready_channel(queue)
        message = channel.prepare_message(
            body,
            content_type=codec.BODY_CONTENT_TYPE,
            content_encoding="utf-8",
            headers=headers,
            properties={"delivery_mode": 2, "correlation_id": task_id},
        )
        channel.basic_publish(
            message,
            exchange="",
            routing_key=queue,
            # A queue that is gone is an error, not a place where messages vanish.
            mandatory=True,
            timeout=_SILENCE_SECONDS,
            confirm_timeout=_SILENCE_SECONDS,
        )

    def _ready_channel(self, queue: str) -> Any:
        """A channel that is open as far as is known, on which the queue has been declared."""
        if self._connection is not None and not self._is_usable():
            self._disconnect()
        if self._connection is None:
            self._connect()
        if queue not in self._declared:
            self._channel.queue_declare(
                queue, durable=True, auto_delete=False, arguments=QUORUM_ARGUMENTS
            )
            self._declared.add(queue)
        return self._channel

    def _is_usable(self) -> bool:
        """Hear what the broker has said meanwhile, and whether the connection still does.

        Raises:
            _Alarm: its alarm is not over.
        """
        had_alarm = self._blocked
        try:
            while True:
                self._connection.drain_events(timeout=0)
        except TimeoutError:
            if self._blocked:
                raise _Alarm from None
            # The last message before an alarm may be confirmed after it, over the same channel.
            return not had_alarm
        except _ERRORS:
            return False

    def _connect(self) -> None:
        options = {
            "confirm_publish": True,
            "on_blocked": self._on_blocked,
            "on_unblocked": self._on_unblocked,
        }
        # Each host once, without pauses: the outbox decides when to try again.
        for host in self._hosts[:-1]:
            with contextlib.suppress(*_ERRORS):
                self._connection = host.connected(options)
                break
        else:
            self._connection = self._hosts[-1].connected(options)
        # Whatever else is waited for, such as the answer to a declaration, has no bound of its own.
        self._connection.sock.settimeout(_SILENCE_SECONDS)
        self._channel = self._connection.channel()

    def _disconnect(self) -> None:
        """Let go without a farewell, for which a broker that hangs would have to be waited for."""
        connection, self._connection, self._channel = self._connection, None, None
        self._declared.clear()
        self._blocked = False
        if connection is not None:
            with contextlib.suppress(*_ERRORS):
                connection.collect()

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True
        raise _Alarm

    def _on_unblocked(self) -> None:
        self._blocked = False
