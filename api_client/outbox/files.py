"""Opening an outbox: in memory, in a file, or in a folder that many processes share."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.records import new_id
from api_client.outbox.journal import FileJournal, Journal, MemoryJournal
from api_client.outbox.spool import Spool


def open_journals(place: str | os.PathLike[str] | None) -> list[tuple[Journal, Spool]]:
    """The journals to work off, with their spools; the first is for new operations.

    Parameters:
        place: None for memory; a file; or a folder (one that exists, or a path that ends with a
            slash), in which this process gets a file of its own and adopts those whose owners
            have died.

    Raises:
        Unavailable: the file is in use by another client, or cannot be opened.
        InvalidRequest: its folder does not exist.
    """
    if place is None:
        return [(MemoryJournal(), Spool(None))]
    path = Path(place)
    if path.is_dir() or os.fspath(place).endswith("/"):
        return _open_folder(path)
    if not path.parent.is_dir():
        raise InvalidRequest(
            f"outbox: the folder {path.parent} does not exist; create it first", field="outbox"
        )
    return [_open_file(path)]


def _open_file(path: Path) -> tuple[Journal, Spool]:
    return FileJournal(path), Spool(Path(f"{path}.spool"))


def _open_folder(folder: Path) -> list[tuple[Journal, Spool]]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened: list[tuple[Journal, Spool]] = []
    for path in sorted(folder.glob("*.outbox")):
        # One that is locked has a living owner.
        with contextlib.suppress(Unavailable):
            opened.append(_open_file(path))
    return opened or [_open_file(folder / f"{new_id()}.outbox")]
