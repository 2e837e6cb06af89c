"""Where blobs are in a folder: ``<root>/<first two hex digits>/<sha256>``."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from worker.artifacts.blobs.folders import Folders

BLOB_NAME = re.compile(r"[0-9a-f]{64}")


class Places:
    """Names files in and below ``root``, and makes the folders for them.

    Attributes:
        root: made on the first write, with its parents.
        incoming: for files that are being written.
        uploads: for blobs of which only parts are there.
        damaged: for blobs that were found damaged.
    """

    def __init__(self, root: Path):
        self.root = root
        self.incoming = root / "incoming"
        self.uploads = root / "uploads"
        self.damaged = root / "damaged"
        self._folders = Folders(root)

    def of(self, sha256: str) -> Path:
        """Where a blob is. Raises ValueError if ``sha256`` is none."""
        if not BLOB_NAME.fullmatch(sha256):
            raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256!r}")
        # One step; joined part by part it takes longer than to look whether the blob is there.
        return Path(f"{self.root}/{sha256[:2]}/{sha256}")

    def made(self, sha256: str) -> Path:
        """The same, in a folder that survives a crash."""
        place = self.of(sha256)
        self.make(place.parent)
        return place

    def temporary(self) -> Path:
        """A name for a new file that nobody else makes."""
        self.make(self.incoming)
        return self.incoming / secrets.token_hex(16)

    def make(self, folder: Path) -> None:
        """Make a folder so that it survives a crash. Raises OSError if that is not possible."""
        self._folders.make(folder)
