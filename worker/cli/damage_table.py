"""Damaged versions as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from worker.artifacts.verify import Damage

_COLUMNS = ("App", "User", "Session", "Name", "Version", "SHA-256", "What is wrong")


def damage_table(found: Iterable[Damage]) -> Table:
    """A table without lines, one version to a row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in _COLUMNS:
        table.add_column(title, overflow="fold")
    for damage in found:
        aside = "; moved aside" if damage.quarantined else ""
        cells = (
            *(damage.app, damage.user, damage.session or "", damage.name),
            *(str(damage.version), damage.sha256, f"{damage.problem}: {damage.detail}{aside}"),
        )
        table.add_row(*(Text(_visible(cell)) for cell in cells))
    return table


def _visible(text: str) -> str:
    """``text`` on one line, with everything that could steer a terminal escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
