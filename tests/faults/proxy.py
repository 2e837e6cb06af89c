"""A TCP proxy that forwards, drops, or swallows what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from worker.embedded.server import LOOPBACK

_START_SECONDS = 10.0
_END_SECONDS = 2.0
_PIECE = 64 * 1024


class Proxies:
    """Several that do the same.

    Parameters:
        proxies: which have been started.
    """

    def __init__(self, *proxies: Proxy):
        self._proxies = proxies

    def blackhole(self) -> None:
        """See `Proxy.blackhole`."""
        for proxy in self._proxies:
            proxy.blackhole()

    def forward(self) -> None:
        """See `Proxy.forward`."""
        for proxy in self._proxies:
            proxy.forward()

    def cut(self) -> None:
        """See `Proxy.cut`."""
        for proxy in self._proxies:
            proxy.cut()


class Proxy:
    """Forwards a port of its own to another one, from a thread of its own.

    Parameters:
        target: the port to forward to, on the loopback interface.
        tls: what is spoken at its own port; plain TCP, if None.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None):
        self._target = target
        self._tls = tls
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._through: asyncio.Event
        self._server: asyncio.Server
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def blackhole(self) -> None:
        """Take whatever comes, and forward nothing, until `forward`."""
        self._call(lambda: self._through.clear())

    def forward(self) -> None:
        """Forward again. Connections from before are cut: their bytes have been swallowed."""
        self._call(self._cut)
        self._call(lambda: self._through.set())

    def cut(self) -> None:
        """Cut all connections; new ones are welcome."""
        self._call(self._cut)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError("the proxy does not listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._loop.stop)
        self._thread.join(_START_SECONDS)

    def _call(self, what: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        self._through.set()
        self._cut()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        if serving:
            await asyncio.wait(serving, timeout=_END_SECONDS)

    async def _listen(self) -> None:
        self._through = asyncio.Event()
        self._through.set()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]
        self._ready.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                await self._through.wait()
                sink.write(piece)
                await sink.drain()
        sink.close()

    def _cut(self) -> None:
        for writer in list(self._open):
            # Python 3.11.2 cannot abort TLS that its peer has left and that was closed then: it has
            # let go of what it would abort (asyncio/sslproto.py, _SSLProtocolTransport.close).
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
        self._open.clear()
