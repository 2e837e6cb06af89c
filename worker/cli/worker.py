"""``zdk worker``."""

from __future__ import annotations

import logging
import os

import click
import typer

from api_client.contract.errors import Unavailable
from worker.artifacts.blobs import open_blob_store
from worker.cli.output import Exit, errors_explained, fail, load_settings
from worker.database import Database
from worker.migrate import head, state_of, upgrade
from worker.settings import Settings

log = logging.getLogger(__name__)

#: Seconds for which a worker that may migrate waits for its database.
_DATABASE_PATIENCE = 60.0


def worker(context: typer.Context) -> None:
    """Run a Celery worker with this project's settings.

    All options of `celery worker` may follow; `celery worker --help` lists them. Settings come
    from the environment: ZDK_BROKER_URL, ZDK_RESULT_URL, ZDK_DATABASE_URL, ZDK_ARTIFACTS_URL,
    ZDK_MIGRATE_ON_START and more (README).

    TERM finishes what has begun, within ZDK_SHUTDOWN_GRACE seconds.

    Example: zdk worker --concurrency 4 --loglevel WARNING
    """
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
        log.warning("%s", error)
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
