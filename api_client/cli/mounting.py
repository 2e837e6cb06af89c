"""Finds the operator's verbs, which come with the extra ``worker``, without importing worker."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import typer

from api_client.cli.extras import is_missing_extra, missing_extra_message
from api_client.cli.output import ExitCode, note

GROUP = "zdk_storage.cli"
#: What `mount` of the worker adds, some of it to a group; where it cannot, each says why.
OPERATOR_VERBS = (
    "worker",
    "up",
    "migrate",
    "doctor",
    "top",
    "sweep",
    "backup",
    "restore",
    "health",
    "dead-letters",
    "import",
    "artifacts verify",
)
#: The client's own, but it starts `up`, so it takes the same to run.
_STARTS_THEM = "demo"


def mount_operator_verbs(app: typer.Typer) -> None:
    """Add the operator's verbs to ``app``.

    Where they cannot be loaded the client's verbs work all the same; the operator's are left out
    of the help, and calling one tells the reason.
    """
    try:
        mounts: list[Callable[[typer.Typer], None]] = [
            found.load() for found in entry_points(group=GROUP)
        ]
        for mount in mounts:
            mount(app)
    except (ImportError, AttributeError) as error:
        _mount_reasons(app, error)
    else:
        if not mounts:
            _mount_reasons(app, None)


def _mount_reasons(app: typer.Typer, error: Exception | None) -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    # Of two commands of one name the later one counts.
    for words in (*OPERATOR_VERBS, _STARTS_THEM):
        group, _, verb = words.rpartition(" ")
        place = groups.get(group) if group else app
        if place is not None:
            _mount_reason(place, words, verb, error)


def _mount_reason(place: typer.Typer, words: str, verb: str, error: Exception | None) -> None:
    # Options are taken too, so that the reason comes before complaints about them.
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}

    @place.command(verb, hidden=True, add_help_option=False, context_settings=anything)
    def refuse() -> None:
        if error is None or is_missing_extra(error):
            note(missing_extra_message(f"zdk {words}"))
            raise typer.Exit(ExitCode.USAGE)
        note(f"zdk {words} cannot be loaded: {type(error).__name__}: {error}")
        raise typer.Exit(ExitCode.UNEXPECTED)
