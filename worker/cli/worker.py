"""``zdk worker``."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import click
import typer

from api_client.contract.errors import Unavailable
from api_client.contract.server_url import check_tls_files
from worker.artifacts.blobs import open_blob_store
from worker.broker.declared_queues import unacknowledged_too_long
from worker.cli.output import Exit, errors_explained, fail, load_settings
from worker.cli.safety import check_safety
from worker.database import Database
from worker.logs.format import LogFormat
from worker.logs.setup import configure
from worker.migrate import head, state_of, upgrade
from worker.settings import Settings
from worker.tracing.export import check_installed

log = logging.getLogger(__name__)

#: Seconds for which a worker that may migrate waits for its database.
_DATABASE_PATIENCE = 60.0


def worker(
    context: typer.Context,
    http_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="Answer /live, /ready and /metrics at this port (ZDK_HTTP_PORT; usually 9464).",
        ),
    ] = None,
    http_host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="At this address (ZDK_HTTP_HOST); 127.0.0.1 unless given, 0.0.0.0 for all.",
        ),
    ] = None,
    require_safe_broker: Annotated[
        bool,
        typer.Option(
            "--require-safe-broker",
            help="Refuse to start on a Redis that can lose or evict what it is given, instead of "
            "warning; also ZDK_REQUIRE_SAFE_BROKER.",
        ),
    ] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            metavar="FORMAT",
            help="Lines for people (console) or JSON documents (json).",
            envvar="ZDK_LOG_FORMAT",
        ),
    ] = None,
) -> None:
    """Run a Celery worker with this project's settings.

    All options of `celery worker` may follow; `celery worker --help` lists them. Settings come
    from the environment: ZDK_BROKER_URL, ZDK_RESULT_URL, ZDK_DATABASE_URL, ZDK_ARTIFACTS_URL,
    ZDK_MIGRATE_ON_START and more (README).

    TERM finishes what has begun, within ZDK_SHUTDOWN_GRACE seconds.

    Example: zdk worker --concurrency 4 --log-format json --http-port 9464
    """
    # The tasks, which Celery imports, and the pool's processes read their settings from there.
    given = {"ZDK_HTTP_PORT": http_port, "ZDK_HTTP_HOST": http_host, "ZDK_LOG_FORMAT": log_format}
    for name, value in given.items():
        if value is not None:
            os.environ[name] = str(value)
    settings = load_settings()
    configure(settings.log_format, logging.INFO)
    _check_tls_files(settings)
    with errors_explained():
        if settings.tracing:
            check_installed()
        open_blob_store(settings.artifacts_url)
        _prepare_schema(settings)
    check_safety(settings, strict=require_safe_broker or settings.require_safe_broker)
    if warning := unacknowledged_too_long(settings):
        log.warning("%s", warning)
    # Imported late, and only after the settings are known to be right: importing the tasks
    # builds the Celery app.
    from worker.tasks import app

    name = f"--hostname=zdk-{os.getpid()}@%h"
    defaults = [name, "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    try:
        # Unlike `worker_main`, this tells whether the worker has failed.
        # Quiet: its banner is no line of the log.
        code: int | None = app.start(["--quiet", "worker", *defaults, *context.args])
    except click.ClickException as error:
        # Celery's own complaint about an option.
        error.show()
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code or Exit.OK)


def _check_tls_files(settings: Settings) -> None:
    # Not where settings are read: the pool's processes do that too, while a file is being replaced.
    urls = {"ZDK_BROKER_URL": settings.broker_url, "ZDK_RESULT_URL": settings.results}
    for name, url in urls.items():
        try:
            check_tls_files(url)
        except ValueError as error:
            fail(f"{name}: {error}", Exit.USAGE)


def _prepare_schema(settings: Settings) -> None:
    """Migrate if that is allowed; otherwise refuse a schema that is known to be behind. A later
    release's is no reason to refuse: during a rolling upgrade workers of both must start."""
    database = Database(settings.database)
    try:
        if settings.migrate_on_start:
            upgrade(database, patience=_DATABASE_PATIENCE)
            return
        state = state_of(database)
    except Unavailable as error:
        # Workers outlive an outage of their database, so one may start during it.
        log.warning("the schema could not be looked at", extra={"error": error})
        return
    finally:
        database.close()
    if state.newer:
        log.warning(
            "the database's schema is %s, of a later release than this one (%s); going on",
            state.revision,
            head(),
        )
    if state.pending:
        fail(
            f"the database's schema is {state.revision or 'not there'}, this release needs "
            f"{head()}; run zdk migrate, or set ZDK_MIGRATE_ON_START=true",
            Exit.UNAVAILABLE,
        )
