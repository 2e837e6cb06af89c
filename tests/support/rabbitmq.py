"""A RabbitMQ of the tests' own: this system's program, under a private name, folder and ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from worker.embedded.child import kill_child, start_child, stop_child
from worker.embedded.server import LOOPBACK, free_port, wait_until_ready

#: Where Debian keeps the program; the one in ``PATH`` there insists on a user of its own.
_DEBIAN = Path("/usr/lib/rabbitmq/bin")
#: It takes five seconds of CPU, and minutes on a machine that is busy with much else.
_START_SECONDS = 240.0
_EPMD_SECONDS = 10.0
_STOP_SECONDS = 20.0
_CALL_SECONDS = 30.0
_NO_SERVER = (
    "there is no RabbitMQ here. Install it: apt-get install rabbitmq-server, or put "
    "rabbitmq-server and epmd into PATH"
)
#: How soon counts are right, in milliseconds; five seconds by default.
_COUNT_EVERY = 100


class RabbitMQMissing(Exception):
    """RabbitMQ is not installed; the message says how to install it."""


class RabbitMQServer:
    """A RabbitMQ node which keeps its data in a folder and dies with this process.

    Start it from a thread that lives as long as the server shall. Started again, after a stop as
    well as after a crash, it has its data and its ports back. Nodes find one another through
    ``epmd``; it gets one of its own, so that it meets no other on this machine.

    Parameters:
        folder: where data, logs and the cookie are kept; created if missing.
        settings: further lines of ``rabbitmq.conf``.

    Raises:
        RabbitMQMissing: there is no such server on this machine.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self._programs = find_programs()
        self._folder = folder.absolute()
        self._log = self._folder / "rabbitmq.log"
        self._settings = settings
        self.port, self._management, self._dist, self._epmd_port = _free_ports(4)
        self._node = f"zdk{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; raises RuntimeError if it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise RuntimeError("the server is not running")
        return self._child.pid

    def url(self, virtual_host: str = "/", *, port: int | None = None) -> str:
        """Where to reach a virtual host of the server; by way of another port, if one is given."""
        host = f"{LOOPBACK}:{port or self.port}"
        return f"amqp://guest:guest@{host}/{quote(virtual_host, safe='')}"

    def start(self) -> None:
        """Start the server, unless that has been done, and wait until it answers.

        Raises:
            EmbeddedStartFailed: it ended or was not ready in time; the message ends its log.
        """
        child = self._child if self._child is not None else self.launch()
        try:
            wait_until_ready("rabbitmq", child, self.answers, timeout=_START_SECONDS, log=self._log)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it; `answers` tells when it is ready."""
        self._prepare()
        with self._log.open("ab") as log:
            if self._epmd is None or self._epmd.poll() is not None:
                self._epmd = self._start_epmd(log)
            self._child = start_child(
                # With input allowed the script becomes the server, instead of starting it.
                [str(self._programs / "rabbitmq-server"), "-noinput"],
                env=self._environment | {"RABBITMQ_ALLOW_INPUT": "1"},
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self._child

    def answers(self) -> bool:
        """Whether it takes connections and can be managed."""
        if not _listens(self.port):
            return False
        try:
            found: dict[str, str] = self.call("GET", f"health/checks/port-listener/{self.port}")
        except OSError:
            return False
        return found["status"] == "ok"

    def stop(self) -> None:
        """Have the server write what it has to and end; if it is not running, do nothing."""
        if self._child is not None:
            stop_child(self._child, grace=_STOP_SECONDS, signal_number=signal.SIGTERM)
            self._child = None

    def kill(self) -> None:
        """Crash the server (SIGKILL); if it is not running, do nothing."""
        if self._child is not None:
            kill_child(self._child)
            self._child = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end_epmd()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Nobody needs its data any more, and ending takes it seconds.
        self.kill()
        self._end_epmd()

    def add_virtual_host(self, name: str) -> str:
        """Make a virtual host, which has queues of its own; return its URL."""
        self.call("PUT", f"vhosts/{quote(name, safe='')}")
        return self.url(name)

    def counts(self, virtual_host: str, queue: str) -> tuple[int, int]:
        """How many messages of a queue wait, and how many are in somebody's hands. Both are told
        with a delay of some tenths of a second."""
        found = self.call("GET", f"queues/{quote(virtual_host, safe='')}/{queue}", missing={})
        return found.get("messages_ready", 0), found.get("messages_unacknowledged", 0)

    def close_connections(self) -> None:
        """End all connections to it, as an administrator would."""
        for connection in self.call("GET", "connections"):
            self.call("DELETE", f"connections/{quote(connection['name'])}", missing={})

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; return what it prints."""
        done = subprocess.run(
            [str(self._programs / "rabbitmqctl"), "--quiet", "-n", self._node, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_CALL_SECONDS,
            check=True,
        )
        return done.stdout

    def call(self, method: str, path: str, *, body: Any = None, missing: Any = None) -> Any:
        """Call its HTTP API.

        Parameters:
            body: what to send, as JSON.
            missing: what to return if there is no such thing; if None, that is an error.
        """
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self._management}/api/{path}",
            method=method,
            data=json.dumps(body or {}).encode() if method == "PUT" else None,
            headers={
                "Authorization": f"Basic {b64encode(b'guest:guest').decode()}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            raise
        return json.loads(body) if body else None

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return kept | {
            # The cookie is kept there.
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            # Its schedulers would otherwise spin while they wait for work.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
        }

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f"management.tcp.port = {self._management}",
            f"management.tcp.ip = {LOOPBACK}",
            f"collect_statistics_interval = {_COUNT_EVERY}",
            "log.console.level = warning",
            # A small machine has little disk, and a quorum queue asks for segments of 64 MB each.
            "disk_free_limit.absolute = 1MB",
            *self._settings,
        )
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        advanced = f"[{{rabbit, [{{quorum_tick_interval, {_COUNT_EVERY}}}]}}]."
        (self._folder / "advanced.config").write_text(advanced)
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management].")

    def _start_epmd(self, log: Any) -> subprocess.Popen[bytes]:
        child = start_child(
            ["epmd", "-port", str(self._epmd_port), "-address", LOOPBACK],
            env=self._environment,
            cwd=self._folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        wait_until_ready(
            "epmd",
            child,
            lambda: _listens(self._epmd_port),
            timeout=_EPMD_SECONDS,
            log=self._log,
        )
        return child

    def _end_epmd(self) -> None:
        if self._epmd is not None:
            kill_child(self._epmd)
            self._epmd = None


def find_programs() -> Path:
    """The folder with RabbitMQ's programs.

    Raises:
        RabbitMQMissing: there is none on this machine.
    """
    for folder in (_DEBIAN, *map(Path, os.get_exec_path())):
        if (folder / "rabbitmq-server").exists() and shutil.which("epmd"):
            return folder
    raise RabbitMQMissing(_NO_SERVER)


def _free_ports(count: int) -> list[int]:
    """Ports that differ."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return [*ports]


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True
