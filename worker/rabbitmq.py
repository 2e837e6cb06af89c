"""kombu's transport for RabbitMQ, with a bound on each wait for the broker.

py-amqp waits for the answer to a declaration, or to its own farewell, as long as the connection
lasts; a broker that hangs would keep a worker from connecting to another one.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp

#: Seconds that the broker may be silent when it is asked something.
_SILENCE_SECONDS = 30.0


class _Bounded:
    """A transport whose connections have that bound."""

    def establish_connection(self) -> Any:
        """Connect, as the class beside this one does."""
        plain: Any = super()
        connection = plain.establish_connection()
        connection.sock.settimeout(_SILENCE_SECONDS)
        return connection


class Transport(_Bounded, pyamqp.Transport):
    """For ``amqp://``."""


class SSLTransport(_Bounded, pyamqp.SSLTransport):
    """For ``amqps://``."""
