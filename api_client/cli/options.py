"""Arguments and options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "Connection"

AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The application's name.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

LimitOption = Annotated[int, typer.Option(metavar="N", help="At most so many, up to 1000.")]
AllOption = Annotated[bool, typer.Option("--all", help="Go on to the end.")]
CursorOption = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on from here: a former next_cursor.")
]

BrokerOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ZDK_BROKER_URL",
        help="The Celery broker, such as redis://localhost:6379/0.",
        rich_help_panel=_PANEL,
    ),
]
ResultsOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ZDK_RESULT_URL",
        help="The Redis that holds results, if it is not the broker.",
        rich_help_panel=_PANEL,
    ),
]
OutboxOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="A file or folder that keeps what is not applied yet; in memory if not given.",
        rich_help_panel=_PANEL,
    ),
]
LocalOption = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Work in this process, without broker and worker.",
        rich_help_panel=_PANEL,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ZDK_DATABASE_URL",
        help="With --local: the database, such as sqlite:///zdk.db.",
        rich_help_panel=_PANEL,
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ZDK_ARTIFACTS_URL",
        help="With --local: the blob store, such as file:///srv/blobs. Otherwise the workers', if "
        "it can be reached from here: large files then go straight there.",
        rich_help_panel=_PANEL,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="How long each wait may take.", rich_help_panel=_PANEL),
]
