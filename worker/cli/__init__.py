"""The zdk command's operator verbs, mounted on the client's command by its entry point."""

from __future__ import annotations

import typer

from worker.cli.doctor import doctor
from worker.cli.migrate import migrate
from worker.cli.sweep import sweep
from worker.cli.up import up
from worker.cli.worker import worker


def mount(app: typer.Typer) -> None:
    """Add the operator's verbs to ``app``."""
    panel = "Operate"
    pass_through = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=panel, context_settings=pass_through)(worker)
    app.command(rich_help_panel=panel)(up)
    app.command(rich_help_panel=panel)(migrate)
    app.command(rich_help_panel=panel)(doctor)
    app.command(rich_help_panel=panel)(sweep)
