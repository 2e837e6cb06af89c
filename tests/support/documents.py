"""Code blocks and headings of the documentation: tests run what a reader would copy."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(document: str) -> list[str]:
    """The Python blocks of a document, by its path from the project's root."""
    return _BLOCK.findall((ROOT / document).read_text())


def commands(document: str) -> list[str]:
    """The lines of the shell blocks of a document, likewise, without comments."""
    blocks = _SHELL_BLOCK.findall((ROOT / document).read_text())
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def anchors(document: str) -> set[str]:
    """What a link into a document may name, as GitHub makes it of its headings."""
    headings = _HEADING.findall((ROOT / document).read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
