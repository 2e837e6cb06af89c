"""Brings an existing database of google-adk over."""

from __future__ import annotations

import time
from collections.abc import Callable

from api_client.contract.errors import Unavailable
from worker.imports.bring import Bringing
from worker.imports.source import Source
from worker.imports.summary import OnProgress, Summary
from worker.imports.verify import Verification
from worker.migrate import head, revision_of
from worker.storage import Storage

#: Called at the start of each of the two passes with its name and the events it will read.
OnPass = Callable[[str, int], OnProgress]


def import_adk(
    source: Source, storage: Storage, *, dry_run: bool = False, on_pass: OnPass
) -> Summary:
    """Bring over what is missing here, then compare all of it.

    It writes to the stores directly, as a worker does, and safely beside workers.

    Parameters:
        dry_run: change nothing, only count what would be brought; nothing is compared then.
        on_pass: is told how far it is.

    Raises:
        Unavailable: the schema here is not up to date.
        sqlalchemy.exc.DBAPIError: a database is in trouble; run it again.
    """
    if revision_of(storage.database) != head():
        raise Unavailable("the schema is not up to date; run: zdk migrate", field="database_url")
    started = time.monotonic()
    summary = Summary()
    total = source.count_events()
    progress = on_pass("Bringing over", total)
    Bringing(source, storage, summary, dry_run=dry_run, on_progress=progress).run()
    if not dry_run:
        progress = on_pass("Verifying", total)
        Verification(source, storage.database, summary, progress).run()
    summary.orphans = max(0, total - summary.events)
    summary.seconds = time.monotonic() - started
    return summary
