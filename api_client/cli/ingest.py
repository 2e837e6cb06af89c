"""``zdk ingest``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api_client.cli.command import Run
from api_client.cli.connect import Connection
from api_client.cli.ingest_views import print_failures, progress_shown, summary_table
from api_client.cli.output import ExitCode, note
from api_client.contract.codec import encode
from api_client.contract.errors import InvalidRequest, OutboxFull, Unavailable
from api_client.contract.keys import USER_SCOPE_PREFIX, SessionKey
from api_client.ingest import Failure, OnFailure, ingest

FolderArgument = Annotated[str, typer.Argument(metavar="DIR", help="The folder to store.")]
AppOption = Annotated[str, typer.Option(metavar="APP", help="The application's name.")]
UserOption = Annotated[str, typer.Option(metavar="USER", help="The user's id.")]
SessionOption = Annotated[
    str | None,
    typer.Option(
        metavar="SESSION", help="The session's id; not needed if the prefix begins with user:."
    ),
]
PrefixOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Put before each name, such as docs/; user: makes them the user's, the same in all "
        "sessions.",
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only files that match; may be given several times."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="No files or folders that match; likewise."),
]
FollowOption = Annotated[
    bool,
    typer.Option(
        "--follow-links", help="Store what symbolic links lead to; otherwise they are skipped."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Store nothing, only say what would be stored.")
]
FailuresOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write every failure into this file, as JSON lines."),
]


def ingest_folder(
    run: Run,
    folder: FolderArgument,
    app: AppOption,
    user: UserOption,
    session: SessionOption = None,
    prefix: PrefixOption = "",
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    follow_links: FollowOption = False,
    dry_run: DryRunOption = False,
    failures: FailuresOption = None,
) -> None:
    """Store the files of a folder as artifacts, only those that are new or have changed.

    Each file, hidden ones too, becomes an artifact under its name relative to DIR. One whose
    artifact has the same bytes already is left alone, so the command can be repeated at any time,
    also after it was interrupted. Nothing is ever deleted. To be exact even after a kill -9, give
    it an --outbox, and the same one again: what is still on its way is then finished first.

    Patterns are those of .gitignore: '*.log' at any depth, '/build' only at the top, 'tmp/' only
    folders, 'docs/**/*.md'; '!keep.log' takes back a former one. An excluded folder is not
    entered.

    What cannot be stored is reported, and the rest go on. Exits with 1 if there was any. --timeout
    is how long to wait while nothing at all is stored.

    Example: zdk ingest ./reports --app shop --user ann --session s-1

    Example: zdk ingest . --app shop --user ann --session s-1 --exclude .git/ --exclude '*.pyc'

    Example: zdk ingest ./handbook --app shop --user ann --prefix user:handbook/ --dry-run

    Example: zdk ingest /data --app shop --user ann --session s-1 --outbox ingest.db --json
    """
    key = _key(app, user, session, prefix)
    with (
        _written_to(failures) as on_failure,
        run.connect() as storage,
        _told(run, storage),
        progress_shown() as on_progress,
    ):
        summary = ingest(
            storage.client,
            folder,
            key,
            prefix=prefix,
            include=include or (),
            exclude=exclude or (),
            follow_links=follow_links,
            dry_run=dry_run,
            patience=run.target.timeout,
            on_failure=on_failure,
            on_progress=on_progress,
        )
    document = {"dry_run": dry_run, "stored": summary.stored, **asdict(summary)}
    run.show(document, lambda _: summary_table(summary, dry_run=dry_run))
    if summary.failed:
        if not run.as_json:
            print_failures(summary, failures)
        raise typer.Exit(ExitCode.UNEXPECTED)


def _key(app: str, user: str, session: str | None, prefix: str) -> SessionKey:
    if session is not None:
        return SessionKey(app, user, session)
    if not prefix.startswith(USER_SCOPE_PREFIX):
        raise InvalidRequest(
            "no session is given: use --session ID, or --prefix user: to store the files for all "
            "of the user's sessions",
            field="session",
        )
    # What is the user's is the same in any session, also in one that has nothing else.
    return SessionKey.new(app, user)


@contextmanager
def _written_to(path: Path | None) -> Iterator[OnFailure | None]:
    """What writes failures into the file at ``path``; None if there is none."""
    if path is None:
        yield None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise InvalidRequest(
            f"--failures {path} cannot be written: {error.strerror}", field="failures"
        ) from None

    def write(failure: Failure) -> None:
        file.write(encode(failure) + b"\n")

    with file:
        yield write


@contextmanager
def _told(run: Run, storage: Connection) -> Iterator[None]:
    """Say what to do next if the ingestion does not come to its end."""
    try:
        yield
    except (Unavailable, OutboxFull, TimeoutError) as error:
        message = storage.explained(str(error))
        raise Unavailable(f"{message}; {_how_to_go_on(run)}") from error
    except KeyboardInterrupt:
        note(f"interrupted; {_how_to_go_on(run)}")
        raise


def _how_to_go_on(run: Run) -> str:
    again = "run it again to go on: what is stored is left alone"
    if run.target.local or run.target.outbox is not None:
        return again
    # The next run would not know of what the broker holds.
    return f"{again}, once workers have applied what the broker holds (or with an --outbox)"
