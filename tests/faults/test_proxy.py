"""The proxy forwards, cuts, and swallows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy
from worker.embedded.server import LOOPBACK


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends everything back."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=5)


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_forwards_both_ways(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"


def test_cut_ends_connections_and_welcomes_new_ones(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"a"
        proxy.cut()
        assert ended(connection)
        with connected(proxy) as other:
            other.sendall(b"b")
            assert other.recv(1) == b"b"


def test_blackhole_takes_and_gives_nothing(echo: int) -> None:
    with Proxy(echo) as proxy, connected(proxy) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"a"
        proxy.blackhole()
        connection.settimeout(0.3)
        connection.sendall(b"b")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.forward()
        with connected(proxy) as other:
            other.sendall(b"c")
            assert other.recv(1) == b"c"
