"""What the scheduler tells the processes it attacks: small files in a folder they all know."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: The environment variable that names the folder. Read by `tests.faults` alone.
FOLDER_VARIABLE = "ZDK_TEST_ORDERS"
#: The order to all clients to issue nothing more, to drain and to end.
STOP = "stop"
#: Exit codes of clients that have followed it: with nothing left, and with the time up.
DRAINED = (0, 3)


class Orders:
    """Orders by name, such as ``kill-w0``, each with a text.

    Parameters:
        folder: made if missing.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_this_process(cls) -> Orders:
        """The orders that this process was started to follow."""
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    def give(self, name: str, text: str = "") -> None:
        """Give an order; it stands until it is taken or withdrawn."""
        draft = self._folder / f"{name}.draft"
        draft.write_text(text)
        draft.rename(self._folder / name)

    def withdraw(self, name: str) -> bool:
        """Withdraw an order; return whether it still stood."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def standing(self, name: str) -> str | None:
        """The text of an order, or None if it does not stand."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / name).read_text()
        return None

    def take(self, name: str, text: str) -> bool:
        """Take an order that stands with this text; of several processes one succeeds."""
        return self.standing(name) == text and self.withdraw(name)
