"""Where operations are kept: in memory, in a file, or in a folder that many processes share."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from api_client.contract.errors import InvalidRequest, Unavailable
from api_client.contract.records import new_id
from api_client.outbox.expired import refuse_expired
from api_client.outbox.journal import FileJournal, Journal, MemoryJournal
from api_client.outbox.locks import InUse, in_use
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

    def __post_init__(self) -> None:
        self.open = self.journal.found.operations

    def close(self) -> None:
        """Let go of it, and remove it if nobody needs it any more."""
        if self.shared_folder and not self.open:
            # The bytes first: without the journal nobody would find them to remove them.
            self.spool.discard()
            self.journal.discard()
        else:
            self.journal.close()
            self.spool.close()


def open_homes(
    place: str | os.PathLike[str] | None, wall: Callable[[], float] = time.time
) -> list[Home]:
    """The homes to work off, with what former clients have left there; the last is for new
    operations.

    Parameters:
        place: None for memory; a file; or a folder (one that exists, or a path that ends with a
            slash), in which this process gets a file of its own and adopts those whose owners
            have died.
        wall: tells the time, in seconds since 1970.

    Raises:
        Unavailable: the file is in use by another client, is damaged, holds messages that are too
            old to be sent, or cannot be opened. In a folder this is logged of files to adopt, and
            the others go on.
        InvalidRequest: its folder does not exist.
    """
    if place is None:
        return [Home(MemoryJournal(), Spool(None))]
    place = fixed(place)
    path = Path(place)
    if is_folder(place):
        return _open_folder(path, wall)
    if not path.parent.is_dir():
        raise InvalidRequest(
            f"outbox: the folder {path.parent} does not exist; create it first", field="outbox"
        )
    return [_open_file(path, wall, shared_folder=False)]


def fixed(place: str | os.PathLike[str]) -> str:
    """The same place by its one name: absolute, because a process may change its working
    directory, and without links, because the files beside an outbox go by the name of the file
    itself.

    Raises:
        InvalidRequest: it is no path.
    """
    if not isinstance(place, (str, os.PathLike)) or not os.fspath(place) or "\0" in str(place):
        raise InvalidRequest("outbox must be the path of a file or a folder", field="outbox")
    real = os.path.realpath(place)
    return os.path.join(real, "") if is_folder(place) else real


def is_folder(place: str | os.PathLike[str]) -> bool:
    """Whether ``place`` stands for a folder of outboxes, not for one file."""
    return Path(place).is_dir() or os.fspath(place).endswith("/")


def files_in(folder: Path) -> list[Path]:
    """The outboxes in a folder, the oldest first, by the time of creation that their names begin
    with."""
    return sorted(folder.glob("*.outbox"))


def spool_of(path: Path) -> Path:
    """The folder beside the outbox at ``path`` with bytes too large for it."""
    return Path(f"{path}.spool")


def _open_file(path: Path, wall: Callable[[], float], *, shared_folder: bool) -> Home:
    journal = FileJournal(path, wall)
    try:
        refuse_expired(journal)
    except BaseException:
        journal.close()
        raise
    return Home(journal, Spool(spool_of(path)), shared_folder)


def _open_folder(folder: Path, wall: Callable[[], float]) -> list[Home]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the outbox {folder} cannot be made: {error}", field="outbox") from error
    adopted = _adopt(folder, wall)
    try:
        return [*adopted, _open_file(folder / f"{new_id()}.outbox", wall, shared_folder=True)]
    except BaseException:
        # Or nobody could work them off as long as this process lives.
        for home in adopted:
            home.journal.close()
        raise


def _adopt(folder: Path, wall: Callable[[], float]) -> list[Home]:
    adopted = []
    for path in files_in(folder):
        try:
            if not in_use(path):
                adopted.append(_open_file(path, wall, shared_folder=True))
        except InUse:
            # A process that has started at the same moment was faster.
            continue
        except (Unavailable, OSError) as error:
            log.error("operations accepted earlier are not going on: %s", error)
    return adopted
