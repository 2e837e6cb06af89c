"""The entry point of the zdk command."""

from __future__ import annotations

import copy
import inspect
import io
import sys
from typing import Annotated

import typer

from api_client.cli.artifacts import artifacts
from api_client.cli.command import verb
from api_client.cli.demo import demo
from api_client.cli.ingest import ingest_folder
from api_client.cli.mounting import mount_operator_verbs
from api_client.cli.outbox import outbox
from api_client.cli.output import EXIT_CODES_HELP, errors_explained
from api_client.cli.sessions import sessions
from api_client.version import __version__

_HELP = (
    "Keep what AI agents produce: sessions and artifacts.\n\n"
    "The verbs that use the storage reach it through ZDK_BROKER_URL (zdk up prints it), or, "
    "with --local, work on a database and a blob store in this process."
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is escaped, instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    # The client's verbs explain their own errors; this is for those of the others.
    with errors_explained(as_json=False):
        build_app(operator=not _asks_for_client_verb(sys.argv[1:]))(prog_name="zdk")


def build_app(*, operator: bool = True) -> typer.Typer:
    """The command.

    Parameters:
        operator: with the operator's verbs, whose imports take longer than most of the client's
            verbs run.
    """
    app = typer.Typer(
        name="zdk",
        help=_HELP,
        epilog=EXIT_CODES_HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command(rich_help_panel="Try")(demo)
    groups = {"sessions": _own(sessions), "artifacts": _own(artifacts), "outbox": _own(outbox)}
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel="Use")
    verb(app, "ingest", panel="Use")(ingest_folder)
    if operator:
        mount_operator_verbs(app)
    for part in (app, *(group.typer_instance for group in app.registered_groups)):
        if part is not None:
            _reflow_help(part)
    return app


def _asks_for_client_verb(arguments: list[str]) -> bool:
    # No option before the verb takes a value, so the first words are the group and the verb.
    words = [word for word in arguments if not word.startswith("-")]
    group, name = [*words, "", ""][:2]
    # The operator has a verb among those for artifacts.
    return group in ("sessions", "outbox", "ingest") or (
        group == "artifacts" and name in {command.name for command in artifacts.registered_commands}
    )


def _own(group: typer.Typer) -> typer.Typer:
    """A copy of a group of verbs, to which the operator's can be added for one command only."""
    own = copy.copy(group)
    own.registered_commands = [*group.registered_commands]
    return own


def _reflow_help(app: typer.Typer) -> None:
    """Let the terminal break the lines of the verbs' docstrings, not the source code. What shall
    stand on a line of its own, such as each example, is a paragraph of its own."""
    for command in app.registered_commands:
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zdk {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Nothing happens before a verb."""
