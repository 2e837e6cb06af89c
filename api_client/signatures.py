"""The type of bytes by how they begin, or end."""

from __future__ import annotations

from collections import defaultdict
from functools import cache


def mime_type(head: bytes) -> str:
    """The mime type that puremagic finds for ``head``; empty if it finds none."""
    # Imported late: it reads its table of signatures on import, which most programs never need.
    import puremagic

    if not _may_match(head):
        return ""
    try:
        return str(puremagic.from_string(head, mime=True))
    except (puremagic.PureError, ValueError):
        return ""


def _may_match(head: bytes) -> bool:
    """Whether any signature is there. puremagic compares with each of some 1,400 in turn, which
    takes longer than to save a small file; they begin at few places and have few lengths."""
    return any(head[start:end] in found for start, end, found in _signatures())


@cache
def _signatures() -> list[tuple[int, int | None, frozenset[bytes]]]:
    """The bytes that may stand between a start and an end, which count from the end of the head
    if they are negative."""
    from puremagic.main import magic_footer_array, magic_header_array

    found: defaultdict[tuple[int, int | None], set[bytes]] = defaultdict(set)
    for row in (*magic_header_array, *magic_footer_array):
        end = row.offset + len(row.byte_match)
        # A slice up to 0 would be empty: the end is meant.
        found[row.offset, None if row.offset < 0 and end == 0 else end].add(row.byte_match)
    return [(start, end, frozenset(rows)) for (start, end), rows in found.items()]
