"""Code blocks of the documentation, so that tests run what a reader would copy."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(document: str) -> list[str]:
    """The Python blocks of a document, by its path from the project's root."""
    return _BLOCK.findall((ROOT / document).read_text())
