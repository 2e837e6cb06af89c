"""``zdk migrate``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from worker.cli.output import Exit, errors_explained, fail, load_settings, print_json
from worker.database import Database
from worker.migrate import State, head, offline_sql, state_of, upgrade


def migrate(
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Change nothing; list what is pending, and exit with 1 if anything is."
        ),
    ] = False,
    sql: Annotated[
        bool,
        typer.Option("--sql", help="Change nothing; print the SQL of what is pending."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the database's schema up to date.

    The database is the one in ZDK_DATABASE_URL, reached without PgBouncer. Running it again, or in
    several places at once, does no harm, and workers need not stop: see docs/upgrading.md. A
    database that a later release has migrated is left as it is.

    Example: ZDK_DATABASE_URL=sqlite:///zdk.db zdk migrate

    Example: zdk migrate --check && zdk worker
    """
    if sql and (check or as_json):
        fail("--sql prints SQL and nothing else; leave out --check and --json", Exit.USAGE)
    with errors_explained():
        database = Database(load_settings().database)
        before = state_of(database)
        if sql:
            sys.stdout.write(
                offline_sql(database.dialect, before.revision) if before.pending else ""
            )
            return
        after = before.revision if check else upgrade(database)
    if as_json:
        pending = before.pending if check else ()
        report = {"before": before.revision, "now": after, "newest": head(), "pending": pending}
        print_json(report | {"newer": before.newer})
    else:
        _print(before, after)
    if check and before.pending:
        raise typer.Exit(Exit.UNEXPECTED)


def _print(before: State, after: str | None) -> None:
    if before.newer:
        print(f"schema {after}: of a later release than this one ({head()}); left as it is")
    elif not before.pending:
        print(f"schema {after}: up to date")
    elif before.revision != after:
        print(f"schema {before.revision or 'not there'} -> {after}")
    else:
        print(f"schema {after or 'not there'}: behind; the newest is {head()}. Pending:")
        for step in before.pending:
            print(f"  {step.revision}  {step.title}")
        print("run zdk migrate")
