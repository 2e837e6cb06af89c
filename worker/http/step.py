"""The endpoint as a part of a Celery worker."""

from __future__ import annotations

import atexit
import socket
import sys
from typing import Any

from celery import bootsteps

from worker.health.pulse import Pulse
from worker.http.heart import Heart
from worker.http.server import listen, start_server, stop_server
from worker.metrics.folder import prepare_folder
from worker.metrics.work import count_tasks
from worker.settings import Settings

#: Seconds between two beats.
_BEAT = 1.0
#: How `zdk` ends on a setting that is wrong.
_WRONG_SETTING = 2


class Endpoint(bootsteps.StartStopStep):
    """Answers HTTP from before the pool forks until the worker's process ends."""

    def create(self, worker: Any) -> Any:
        """Start the process that answers.

        Raises:
            SystemExit: as `listen_by` does.
        """
        settings, pulse = Settings(), Pulse()
        with listen_by(settings) as listening:
            folder = prepare_folder()
            count_tasks()
            server = start_server(listening, settings, pulse, folder)
        # Not in `stop`: a worker that ends still says so.
        atexit.register(stop_server, server, folder)
        self._heart = worker.heart = Heart(pulse, lambda: _processes(worker))

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Beat with the worker's loop, from each new connection to the broker on."""
        hub.call_repeatedly(_BEAT, self._heart.beat)

    def start(self, worker: Any) -> None:
        """Nothing is left to do."""

    def close(self, worker: Any) -> None:
        """Show that the worker is ending."""
        self._heart.end()

    def stop(self, worker: Any) -> None:
        """Leave that to the end of the process."""

    def terminate(self, worker: Any) -> None:
        """Likewise."""


def listen_by(settings: Settings) -> socket.socket:
    """The socket that ``settings`` ask for.

    Raises:
        SystemExit: with 2: the address cannot be had; a line says which, and what to do.
    """
    assert settings.http_port is not None
    try:
        return listen(settings.http_host, settings.http_port)
    except OSError as error:
        print(
            f"zdk: ZDK_HTTP_HOST, ZDK_HTTP_PORT: {settings.http_host} port {settings.http_port} "
            f"cannot be had ({error.strerror or error}); choose another one",
            file=sys.stderr,
        )
        raise SystemExit(_WRONG_SETTING) from None


def _processes(worker: Any) -> int:
    return 0 if worker.pool is None else int(worker.pool.num_processes)
