"""``zdk worker``."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import click
import typer

from api_client.contract.errors import Unavailable
from worker.artifacts.blobs import open_blob_store
from worker.cli.output import Exit, errors_explained, fail, load_settings
from worker.database import Database
from worker.migrate import head, revision_of, upgrade
from worker.settings import Settings

log = logging.getLogger(__name__)

#: Seconds for which a worker that may migrate waits for its database.
_DATABASE_PATIENCE = 60.0


def worker(
    context: typer.Context,
    http_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Answer /live, /ready and /metrics at this port (ZDK_HTTP_PORT; usually 9464).",
        ),
    ] = None,
    http_host: Annotated[
        str | None,
        typer.Option(
            help="At this address (ZDK_HTTP_HOST); 127.0.0.1 unless given, 0.0.0.0 for all."
        ),
    ] = None,
) -> None:
    """Run a Celery worker with this project's settings.

    All options of `celery worker` may follow; `celery worker --help` lists them. Settings come
    from the environment: ZDK_BROKER_URL, ZDK_RESULT_URL, ZDK_DATABASE_URL, ZDK_ARTIFACTS_URL,
    ZDK_MIGRATE_ON_START and more (README).

    TERM finishes what has begun, within ZDK_SHUTDOWN_GRACE seconds.

    Example: zdk worker --concurrency 4 --loglevel WARNING --http-port 9464
    """
    # The tasks, which Celery imports, read their settings from there.
    for name, given in {"ZDK_HTTP_PORT": http_port, "ZDK_HTTP_HOST": http_host}.items():
        if given is not None:
            os.environ[name] = str(given)
    settings = load_settings()
    with errors_explained():
        open_blob_store(settings.artifacts_url)
        _prepare_schema(settings)
    # Imported late, and only after the settings are known to be right: importing the tasks
    # builds the Celery app.
    from worker.tasks import app

    name = f"--hostname=zdk-{os.getpid()}@%h"
    defaults = [name, "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    try:
        # Unlike `worker_main`, this tells whether the worker has failed.
        code: int | None = app.start(["worker", *defaults, *context.args])
    except click.ClickException as error:
        # Celery's own complaint about an option.
        error.show()
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code or Exit.OK)


def _prepare_schema(settings: Settings) -> None:
    """Migrate if that is allowed; otherwise refuse a schema that is known to be behind."""
    database = Database(settings.database)
    try:
        if settings.migrate_on_start:
            upgrade(database, patience=_DATABASE_PATIENCE)
            return
        revision = revision_of(database)
    except Unavailable as error:
        # Workers outlive an outage of their database, so one may start during it.
        log.warning("%s", error)
        return
    finally:
        database.close()
    if revision != head():
        fail(
            f"the database's schema is {revision or 'not there'}, this release needs {head()}; "
            "run zdk migrate, or set ZDK_MIGRATE_ON_START=true",
            Exit.UNAVAILABLE,
        )
