"""``zdk sweep``."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from worker import ledger
from worker.artifacts.blobs import open_blob_store
from worker.artifacts.sweep import sweep_blobs
from worker.cli.output import errors_explained, load_settings, print_json
from worker.database import Database

#: Ten years.
_MOST_HOURS = 87_600
#: Ledger rows in one transaction, which holds up nobody for long.
_BATCH = 5000


def sweep(
    grace: Annotated[
        float,
        typer.Option(
            min=0,
            max=_MOST_HOURS,
            help="Hours for which bytes are kept although nothing refers to them.",
        ),
    ] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove artifact bytes that no version refers to, and what the ledger need not remember.

    The ledger remembers applied messages for ZDK_LEDGER_DAYS days. Safe while workers run. Run it
    daily, for example from cron.

    Example: zdk sweep --grace 24
    """
    settings = load_settings()
    with errors_explained():
        database = Database(settings.database)
        report = sweep_blobs(database, open_blob_store(settings.artifacts_url), grace=grace * 3600)
        messages = sweep_ledger(database, settings.ledger_days)
    if as_json:
        print_json({"examined": report.examined, "removed": report.removed, "messages": messages})
    else:
        print(f"{report.removed} of {report.examined} blobs older than {grace:g} h removed")
        print(f"{messages} messages older than {settings.ledger_days} days forgotten")


def sweep_ledger(database: Database, days: int) -> int:
    """Forget messages applied more than ``days`` days ago; return how many."""
    before = datetime.now(timezone.utc) - timedelta(days=days)
    total = 0
    while True:
        with database.write.begin() as connection:
            swept = ledger.sweep(connection, before, _BATCH)
        total += swept
        if swept < _BATCH:
            return total
