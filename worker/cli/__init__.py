"""The zdk command's operator verbs, mounted on the client's command by its entry point."""

from __future__ import annotations

import typer

from worker.cli.backup import backup, restore
from worker.cli.dead_letters import dead_letters
from worker.cli.doctor import doctor
from worker.cli.health import health
from worker.cli.imports import imports
from worker.cli.migrate import migrate
from worker.cli.sweep import sweep
from worker.cli.top import top
from worker.cli.up import up
from worker.cli.verify import verify
from worker.cli.worker import worker


def mount(app: typer.Typer) -> None:
    """Add the operator's verbs to ``app``."""
    panel = "Operate"
    pass_through = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=panel, context_settings=pass_through)(worker)
    app.command(rich_help_panel=panel)(up)
    app.command(rich_help_panel=panel)(migrate)
    app.command(rich_help_panel=panel)(doctor)
    app.command(rich_help_panel=panel)(top)
    app.command(rich_help_panel=panel)(sweep)
    app.command(rich_help_panel=panel)(backup)
    app.command(rich_help_panel=panel)(restore)
    # It needs the stores themselves, as only an operator has them; its name is where people look.
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    if (artifacts := groups.get("artifacts")) is not None:
        artifacts.command("verify", rich_help_panel=panel)(verify)
    app.add_typer(health, name="health", rich_help_panel=panel)
    app.add_typer(dead_letters, rich_help_panel=panel)
    app.add_typer(imports, rich_help_panel=panel)
