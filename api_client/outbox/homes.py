"""Where operations are kept: in memory, in a file, or in a folder that many processes share."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.records import new_id
from api_client.outbox.journal import (
    FileJournal,
    Journal,
    MemoryJournal,
    StoredOperation,
    in_use,
)
from api_client.outbox.spool import Spool

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Home:
    """A journal with its spool.

    Attributes:
        journal: keeps operations.
        spool: keeps large bytes.
        shared_folder: whether it is one of many in a folder, and goes when it is empty.
        open: operations in it that have no outcome.
    """

    journal: Journal
    spool: Spool
    shared_folder: bool = False
    open: int = 0

    def close(self) -> None:
        """Let go of it, and remove it if nobody needs it any more."""
        if self.shared_folder and not self.open:
            self.journal.discard()
            self.spool.discard()
        else:
            self.journal.close()
            self.spool.close()


#: A home with what a former client has left there.
FoundHome = tuple[Home, Sequence[StoredOperation]]


def open_homes(
    place: str | os.PathLike[str] | None,
) -> list[FoundHome]:
    """The homes to work off, each with what is in it; the last is for new operations.

    Parameters:
        place: None for memory; a file; or a folder (one that exists, or a path that ends with a
            slash), in which this process gets a file of its own and adopts those whose owners
            have died.

    Raises:
        Unavailable: the file is in use by another client, or cannot be opened.
        InvalidRequest: its folder does not exist.
    """
    if place is None:
        return [(Home(MemoryJournal(), Spool(None)), ())]
    path = Path(place)
    if path.is_dir() or os.fspath(place).endswith("/"):
        return _open_folder(path)
    if not path.parent.is_dir():
        raise InvalidRequest(
            f"outbox: the folder {path.parent} does not exist; create it first", field="outbox"
        )
    return [_open_file(path, shared_folder=False)]


def _open_file(path: Path, *, shared_folder: bool) -> FoundHome:
    journal = FileJournal(path)
    try:
        stored = journal.load()
    except Unavailable:
        journal.close()
        raise
    return Home(journal, Spool(Path(f"{path}.spool")), shared_folder), stored


def _open_folder(folder: Path) -> list[FoundHome]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = []
    # By name, which begins with the time of creation: the oldest operations come first.
    for path in sorted(folder.glob("*.outbox")):
        if in_use(path):
            continue
        try:
            opened.append(_open_file(path, shared_folder=True))
        except Unavailable as error:
            log.error("operations accepted earlier are not going on: %s", error)
    opened.append(_open_file(folder / f"{new_id()}.outbox", shared_folder=True))
    return opened
