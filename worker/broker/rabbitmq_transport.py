"""kombu's transport for RabbitMQ, with bounded waits, and with bodies left as they are.

py-amqp waits for the answer to a declaration, or to its own farewell, as long as the connection
lasts; a broker that hangs would keep a worker from connecting to another one. And it decodes a body
by whatever encoding its publisher has named, before anybody could look at it.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp

from api_client.contract.amqp_tls import tls_arguments

#: Seconds that the broker may be silent when it is asked something.
_SILENCE_SECONDS = 30.0


class _Channel(pyamqp.Channel):
    def __init__(self, connection: Any, channel_id: int | None = None, **options: Any):
        super().__init__(connection, channel_id, auto_decode=False, **options)


class _Connection(pyamqp.Connection):
    Channel = _Channel


class _TLSConnection(_Connection):
    """Its ``ssl`` is what kombu makes of a URL's options; True, if there are none."""

    def __init__(self, host: str, ssl: Any = True, **options: Any):
        given = ssl if isinstance(ssl, dict) else {}
        super().__init__(host=host, ssl=tls_arguments(given, host.rpartition(":")[0]), **options)


def _bounded(connection: Any) -> Any:
    connection.sock.settimeout(_SILENCE_SECONDS)
    return connection


class Transport(pyamqp.Transport):
    """For ``amqp://``."""

    Connection = _Connection

    def establish_connection(self) -> Any:
        """Connect, as kombu's own does."""
        return _bounded(super().establish_connection())


class SSLTransport(pyamqp.SSLTransport):
    """For ``amqps://``, with a certificate that is verified."""

    Connection = _TLSConnection

    def establish_connection(self) -> Any:
        """Connect, as kombu's own does."""
        return _bounded(super().establish_connection())
