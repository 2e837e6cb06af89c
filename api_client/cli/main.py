"""The entry point of the zdk command."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from api_client.cli.artifacts import artifacts
from api_client.cli.demo import demo
from api_client.cli.mounting import mount_operator_verbs
from api_client.cli.output import EXIT_CODES_HELP, errors_explained
from api_client.cli.sessions import sessions
from api_client.version import __version__


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is escaped, instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    # The verbs explain their own errors; this is for what reaches the surface all the same.
    with errors_explained(as_json=False):
        build_app()(prog_name="zdk")


def build_app() -> typer.Typer:
    """The command with all verbs."""
    app = typer.Typer(
        name="zdk",
        epilog=EXIT_CODES_HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.add_typer(sessions, name="sessions", rich_help_panel="Use")
    app.add_typer(artifacts, name="artifacts", rich_help_panel="Use")
    app.command(rich_help_panel="Use")(demo)
    mount_operator_verbs(app)
    return app


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
    """Keep what AI agents produce: sessions and artifacts.

    The verbs that use the storage reach it through ZDK_BROKER_URL (zdk up prints it), or, with
    --local, work on a database and a folder in this process.
    """
