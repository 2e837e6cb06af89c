"""What the endpoint answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, make_wsgi_app

from worker.doctor import Finding
from worker.health.life import Limits, fault
from worker.health.pulse import Pulse
from worker.health.readiness import Readiness

Respond = Callable[..., Any]
Application = Callable[[dict[str, Any], Respond], Iterable[bytes]]


class Life(msgspec.Struct):
    """The answer of ``/live``.

    Attributes:
        ok: whether the worker's loop turns and its pool takes work.
        detail: why not.
    """

    ok: bool
    detail: str = ""


class Ready(msgspec.Struct):
    """The answer of ``/ready``.

    Attributes:
        ok: whether the worker lives, is not ending, and all that it needs answers.
        detail: why not.
        checks: what each check has found.
    """

    ok: bool
    detail: str
    checks: list[Finding]


class Answers:
    """The endpoint as a WSGI application.

    Parameters:
        pulse: of the worker.
        limits: of a living one.
        readiness: of what it needs.
        registry: of the metrics.
    """

    def __init__(
        self, pulse: Pulse, limits: Limits, readiness: Readiness, registry: CollectorRegistry
    ):
        self._pulse = pulse
        self._limits = limits
        self._readiness = readiness
        self._metrics: Application = make_wsgi_app(registry)

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        """Answer one request."""
        match environ.get("PATH_INFO"):
            case "/metrics":
                return self._metrics(environ, respond)
            case "/live":
                life = self.life()
                return _json(respond, life, life.ok)
            case "/ready":
                ready = self.ready()
                return _json(respond, ready, ready.ok)
        respond("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there are /live, /ready and /metrics\n"]

    def life(self) -> Life:
        """Whether the worker lives."""
        found = fault(self._pulse.read(), time.monotonic(), self._limits)
        return Life(found is None, found or "")

    def ready(self) -> Ready:
        """Whether it can do its work. Takes a little over four seconds at most."""
        if self._pulse.read().ending_since:
            return Ready(False, "the worker is ending", [])
        life = self.life()
        if not life.ok:
            return Ready(False, life.detail, [])
        checks = self._readiness.findings()
        failed = ", ".join(check.name for check in checks if not check.ok)
        return Ready(not failed, f"not ready: {failed}" if failed else "", checks)


def _json(respond: Respond, answer: Life | Ready, ok: bool) -> list[bytes]:
    status = "200 OK" if ok else "503 Service Unavailable"
    respond(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [msgspec.json.encode(answer) + b"\n"]
