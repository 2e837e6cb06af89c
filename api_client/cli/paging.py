"""Listings: how to go on to the end, and how to say that there is more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from api_client.cli.output import visible
from api_client.contract.records import Page

T = TypeVar("T")


def collect(
    fetch: Callable[[str | None], Page[T]], cursor: str | None, everything: bool
) -> Page[T]:
    """The page at ``cursor``; with ``everything``, all from there on as one."""
    page = fetch(cursor)
    items = [*page.items]
    while everything and page.next_cursor is not None:
        page = fetch(page.next_cursor)
        items += page.items
    return Page(items=items, next_cursor=page.next_cursor)


def page_view(
    page: Page[T], table: Callable[[list[T]], RenderableType], what: str
) -> RenderableType:
    """A page for people: its table, and how to see more."""
    if not page.items:
        return f"no {what}"
    if page.next_cursor is None:
        return table(page.items)
    more = Text(f"there are more: add --all, or --cursor {visible(page.next_cursor)}", style="dim")
    return Group(table(page.items), more)
