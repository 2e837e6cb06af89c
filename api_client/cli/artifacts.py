"""``zdk artifacts``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from api_client.artifact_uri import SCHEME, parse_artifact_uri
from api_client.cli.artifact_views import artifacts_table, versions_table
from api_client.cli.command import Run, verb
from api_client.cli.inputs import STANDARD, confirm, opened, parse_object
from api_client.cli.options import (
    AllOption,
    AppArgument,
    CursorOption,
    LimitOption,
    SessionArgument,
    UserArgument,
    YesOption,
)
from api_client.cli.outputs import check_destination, destination
from api_client.cli.paging import collect, page_view
from api_client.cli.tables import human_size
from api_client.contract.errors import InvalidRequest
from api_client.contract.keys import ArtifactKey, SessionKey
from api_client.contract.records import Artifact

artifacts = typer.Typer(help="Artifacts: named files with versions.", no_args_is_help=True)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Its name; user:NAME is the same in all the user's sessions.",
    ),
]


@verb(artifacts, "list")
def list_artifacts(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    limit: LimitOption = 100,
    everything: AllOption = False,
    cursor: CursorOption = None,
) -> None:
    """List a session's artifacts and its user's, each by its latest version.

    Example: zdk artifacts list shop ann s-1
    """
    key = SessionKey(app, user, session)
    with run.connect() as storage:
        page = collect(
            lambda cursor: storage.read(storage.artifacts.list(key, limit=limit, cursor=cursor)),
            cursor,
            everything,
        )
    run.show(page, lambda page: page_view(page, artifacts_table, "artifacts"))


@verb(artifacts, "put")
def put_artifact(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    name: NameArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What to save; - for the standard input.")
    ],
    mime_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Its mime type; guessed if not given."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="Your own data about it, a JSON object.")
    ] = None,
) -> None:
    """Save a file as the next version of an artifact.

    Example: zdk artifacts put shop ann s-1 report.pdf ./report.pdf --metadata '{"pages": 3}'

    Example: tar cz src | zdk artifacts put shop ann s-1 src.tar.gz -
    """
    key = ArtifactKey(app, user, session, name)
    about = parse_object(metadata, "metadata")
    with opened(file, "file") as data, run.connect() as storage:
        version = storage.write(
            storage.artifacts.save(key, data, mime_type=mime_type, metadata=about),
            f"Saving {name}",
        )
    run.show({"key": key, "version": version}, lambda saved: f"saved {name} as version {version}")


@verb(artifacts, "get")
def get_artifact(
    run: Run,
    app: Annotated[
        str,
        typer.Argument(metavar="APP|URI", help="The application's name, or a zdk:// URI alone."),
    ],
    user: Annotated[str | None, typer.Argument(metavar="USER", help="The user's id.")] = None,
    session: Annotated[
        str | None, typer.Argument(metavar="SESSION", help="The session's id.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Its name; user:NAME is the same in all the user's sessions.",
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="This version, not the latest.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; - is the standard output."),
    ] = None,
) -> None:
    """Load an artifact's bytes into a file or a pipe.

    The zdk:// URI of a version, which agent frameworks show, says all that APP to NAME and
    --version would say.

    With --json, prints what is known about it; without -o also its bytes, in base64 as data.

    Example: zdk artifacts get shop ann s-1 report.pdf -o report.pdf

    Example: zdk artifacts get shop ann s-1 src.tar.gz | tar tz
    """
    key, version = _wanted(app, user, session, name, version)
    if run.as_json and output is None:
        with run.connect() as storage:
            whole = storage.read(storage.artifacts.load(key, version=version))
        run.show(whole, str)
        return
    place = _place(run, output)
    with run.connect() as storage, destination(place) as file:
        found = storage.read(
            storage.artifacts.load(key, version=version, into=file), f"Loading {key.name}"
        )
    if place != STANDARD:
        run.show(_about(found, place), lambda _: _loaded_line(found, place))


@verb(artifacts, "versions")
def list_versions(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    name: NameArgument,
    limit: LimitOption = 100,
    everything: AllOption = False,
    cursor: CursorOption = None,
) -> None:
    """List the versions of an artifact, oldest first, with their metadata.

    Example: zdk artifacts versions shop ann s-1 report.pdf
    """
    key = ArtifactKey(app, user, session, name)
    with run.connect() as storage:
        page = collect(
            lambda cursor: storage.read(
                storage.artifacts.versions(key, limit=limit, cursor=cursor)
            ),
            cursor,
            everything,
        )
    run.show(page, lambda page: page_view(page, versions_table, "versions"))


@verb(artifacts, "delete")
def delete_artifact(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    name: NameArgument,
    version: Annotated[
        int | None, typer.Option(metavar="N", help="Only this version, not all.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Delete an artifact, or one of its versions. Version numbers are not used again.

    Asks on a terminal; elsewhere it wants --yes.

    Example: zdk artifacts delete shop ann s-1 report.pdf --version 2 --yes
    """
    key = ArtifactKey(app, user, session, name)
    which = "all versions" if version is None else f"version {version}"
    confirm(f"Delete {which} of {name} (session {session}, user {user}, app {app})?", yes)
    with run.connect() as storage:
        deleted = storage.write(storage.artifacts.delete(key, version=version))
    run.show(deleted, lambda gone: f"deleted {name}, {_numbered(gone.versions)}")


def _wanted(
    app: str, user: str | None, session: str | None, name: str | None, version: int | None
) -> tuple[ArtifactKey, int | None]:
    """The artifact and the version that the arguments of ``get`` name."""
    if user is None and app.startswith(SCHEME):
        if version is not None:
            raise InvalidRequest("the URI names the version", field="version")
        return parse_artifact_uri(app)
    if user is None or session is None or name is None:
        raise InvalidRequest(f"say APP USER SESSION NAME, or a {SCHEME} URI alone", field="name")
    return ArtifactKey(app, user, session, name), version


def _place(run: Run, output: str | None) -> str:
    """Where the bytes of an artifact should go, checked before they are loaded."""
    if output is None:
        if sys.stdout.isatty():
            raise InvalidRequest(
                "the bytes would go to the terminal: use -o FILE, or -o - if you mean it",
                field="output",
            )
        return STANDARD
    if output == STANDARD and run.as_json:
        raise InvalidRequest(
            "--json and the bytes cannot share the standard output: use -o FILE", field="output"
        )
    check_destination(output)
    return output


def _about(artifact: Artifact, place: str) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "version": artifact.version,
        "mime_type": artifact.mime_type,
        "size": artifact.size,
        "sha256": artifact.sha256,
        "metadata": artifact.metadata,
        "created_at": artifact.created_at,
        "file": place,
    }


def _loaded_line(artifact: Artifact, place: str) -> str:
    size = human_size(artifact.size)
    return f"loaded version {artifact.version} of {artifact.name} ({size}) into {place}"


def _numbered(versions: list[int]) -> str:
    numbers = ", ".join(map(str, sorted(versions)))
    return f"version {numbers}" if len(versions) == 1 else f"versions {numbers}"
