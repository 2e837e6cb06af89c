"""``zdk migrate``."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.output import Exit, errors_explained, load_settings, print_json
from worker.database import Database
from worker.migrate import head, revision_of, upgrade


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if the schema is behind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the database's schema up to date.

    The database is the one in ZDK_DATABASE_URL. Running it again, or in several places at once,
    does no harm.

    Example: ZDK_DATABASE_URL=sqlite:///zdk.db zdk migrate
    """
    with errors_explained():
        database = Database(load_settings().database)
        before = revision_of(database)
        after = before if check else upgrade(database)
    if as_json:
        print_json({"before": before, "now": after, "newest": head()})
    elif before == after:
        state = "up to date" if after == head() else f"behind; the newest is {head()}"
        print(f"schema {after or 'not there'}: {state}")
    else:
        print(f"schema {before or 'not there'} -> {after}")
    if after != head():
        raise typer.Exit(Exit.UNEXPECTED)
