"""The process that answers HTTP for a worker.

A process of its own, forked from the worker's main one: it answers while that is stopped or hangs,
takes nothing from its loop, and no thread runs in a process that forks (docs/decisions/0028).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from worker.broker.queues import open_queues
from worker.database import Database
from worker.doctor import probes
from worker.embedded.exec import die_with_parent
from worker.health.asking import Asked
from worker.health.life import Limits
from worker.health.pulse import Pulse
from worker.health.readiness import Readiness
from worker.http.answers import Answers
from worker.metrics.collectors import StateCollector, count_dead_letters, registry_of
from worker.settings import Settings

#: Seconds that the database gets for each step of a check.
_DATABASE_SECONDS = 2.0
#: Seconds after which a client that says nothing is cut off.
_IDLE_SECONDS = 10.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        OSError: the address is not ours, or is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def start_server(listening: socket.socket, settings: Settings, pulse: Pulse, folder: Path) -> int:
    """Fork the process that answers at a socket; it ends when this one does.

    Parameters:
        pulse: of this process.
        folder: where it and its pool count.

    Returns its process id.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            # A worker that ends still answers, and ends this process itself.
            signal.signal(number, signal.SIG_IGN)
        die_with_parent(parent)
        _serve(listening, _answers(settings, pulse, folder, parent), parent)
    finally:
        os._exit(1)


def stop_server(pid: int, folder: Path) -> None:
    """End the process, and remove the folder."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    shutil.rmtree(folder, ignore_errors=True)


def limits_of(settings: Settings) -> Limits:
    """How long a living worker with these settings takes."""
    return Limits(settings.stalled_after, settings.time_limit, settings.shutdown_grace)


def _answers(settings: Settings, pulse: Pulse, folder: Path, worker_pid: int) -> Answers:
    quick = settings.model_copy(
        update={
            "connect_timeout": _DATABASE_SECONDS,
            "statement_timeout": _DATABASE_SECONDS,
            "lock_timeout": _DATABASE_SECONDS,
            "pool_timeout": _DATABASE_SECONDS,
        }
    )
    limits = limits_of(settings)
    readiness = Readiness(probes(quick))
    database = Database(quick.database)
    state = StateCollector(
        Asked(open_queues(settings.broker_url).look),
        Asked(lambda: count_dead_letters(database)),
        readiness,
        pulse,
        limits,
    )
    return Answers(pulse, limits, readiness, registry_of(folder, worker_pid, state))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    parent: int

    def service_actions(self) -> None:
        # Where the kernel does not tell that the worker was killed.
        if os.getppid() != self.parent:
            os._exit(0)


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *arguments: object) -> None:
        """Probes and scrapes are not worth a line each."""


def _serve(listening: socket.socket, answers: Callable[..., object], parent: int) -> None:
    host, port = listening.getsockname()[:2]
    server = _Server((host, port), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.parent = parent
    server.set_app(answers)  # type: ignore[arg-type]
    server.serve_forever()
