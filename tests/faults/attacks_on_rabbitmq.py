"""Faults of RabbitMQ as broker."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import urllib.error
from collections.abc import Iterator

from tests.faults.attack import NotHit, Steps, fault, until
from tests.faults.processes import pause_processes
from tests.faults.site import Site
from tests.support.rabbitmq import RabbitMQServer

_RABBITMQ = ("rabbitmq",)
#: Seconds that it may take to start; it needs some five of CPU.
_START_SECONDS = 240.0
#: Seconds in which deleted queues are declared again, and noted.
_DECLARED_SECONDS = 5.0
#: What its programs and its HTTP API raise while another fault goes on.
_TROUBLE = (OSError, urllib.error.HTTPError, subprocess.SubprocessError)


@fault("rabbitmq-crash", "rabbitmq", brokers=_RABBITMQ)
def rabbitmq_crash(site: Site) -> Steps:
    """SIGKILL of RabbitMQ, which comes back with what it had confirmed."""
    server = _server(site)
    server.kill()
    yield from _started_again(site, server)


@fault("rabbitmq-restart", "rabbitmq", brokers=_RABBITMQ)
def rabbitmq_restart(site: Site) -> Steps:
    """A stop in good order, and a start."""
    server = _server(site)
    server.stop()
    yield from _started_again(site, server)


@fault("rabbitmq-pause", "rabbitmq", brokers=_RABBITMQ)
def rabbitmq_pause(site: Site) -> Steps:
    """RabbitMQ stands still, its connections open, for longer than a client waits for it."""
    pid = _server(site).pid
    pause_processes([pid], signal.SIGSTOP)
    try:
        yield site.dice.uniform(2.0, 14.0)
    finally:
        pause_processes([pid], signal.SIGCONT)


@fault("rabbitmq-close-connections", "rabbitmq", brokers=_RABBITMQ)
def rabbitmq_close_connections(site: Site) -> Steps:
    """An administrator ends all connections."""
    with _possible():
        _server(site).close_connections()
    yield 0


# Alone, because the program that raises the alarm takes seconds, in which nothing else goes on.
@fault("rabbitmq-alarm", "rabbitmq", alone=True, brokers=_RABBITMQ)
def rabbitmq_alarm(site: Site) -> Steps:
    """Its memory counts as full, so it takes nothing from who publishes."""
    server = _server(site)
    with _possible():
        server.control("set_vm_memory_high_watermark", "absolute", "1")
    try:
        yield site.dice.uniform(2.0, 8.0)
    finally:
        server.control("set_vm_memory_high_watermark", "0.4")


@fault("rabbitmq-purge", "rabbitmq", brokers=_RABBITMQ)
def rabbitmq_purge(site: Site) -> Steps:
    """The queues are deleted, with all that is in them, under those who use them."""
    with _possible():
        for queue in ("storage.write", "storage.read"):
            _server(site).call("DELETE", f"queues/%2F/{queue}", missing={})
    # Nothing else is done to it meanwhile: killed in the moment after a queue was declared anew,
    # RabbitMQ 3.10 forgets that queue and keeps its name (docs/rabbitmq.md).
    yield _DECLARED_SECONDS


def _started_again(site: Site, server: RabbitMQServer) -> Steps:
    try:
        yield site.dice.uniform(0.2, 3.0)
        server.launch()
        yield from until(server.answers, _START_SECONDS)
    finally:
        server.start()


def _server(site: Site) -> RabbitMQServer:
    assert site.rabbitmq is not None, "only chosen with this broker"
    return site.rabbitmq


@contextlib.contextmanager
def _possible() -> Iterator[None]:
    try:
        yield
    except _TROUBLE as error:
        raise NotHit from error
