"""A worker's HTTP endpoint: /live, /ready and /metrics."""

from __future__ import annotations

from celery import Celery

from worker.settings import Settings


def serve_http(app: Celery, settings: Settings) -> None:
    """Have the workers of ``app`` answer HTTP, if their settings ask for it.

    Parameters:
        settings: ``http_port`` says so; without it nothing is even imported.
    """
    if settings.http_port is not None:
        from worker.http.step import Endpoint

        app.steps["worker"].add(Endpoint)
