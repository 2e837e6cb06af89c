"""``zdk sweep``."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.artifacts.blobs import open_blob_store
from worker.artifacts.sweep import sweep_blobs
from worker.cli.output import errors_explained, load_settings, print_json
from worker.database import Database


def sweep(
    grace: Annotated[
        float,
        typer.Option(help="Hours for which bytes are kept although nothing refers to them."),
    ] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove artifact bytes that no version refers to any more.

    Safe while workers run. Run it daily, for example from cron.

    Example: zdk sweep --grace 24
    """
    settings = load_settings()
    with errors_explained():
        database = Database(settings.database)
        report = sweep_blobs(database, open_blob_store(settings.artifacts_url), grace=grace * 3600)
    if as_json:
        print_json(report)
    else:
        print(f"{report.removed} of {report.examined} blobs older than {grace:g} h removed")
