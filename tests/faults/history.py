"""What clients asked for and what they were told: a file of JSON lines for each client."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

import msgspec

from tests.faults.operations import Operation

#: ``told`` precedes the outcome of an operation that may fail: from then on its owner knows it.
What = Literal["begin", "invoke", "accepted", "refused", "told", "applied", "failed", "bad", "end"]

_WAIT_SECONDS = 0.5


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line.

    Attributes:
        what: kind of line.
        id: the operation's; of a ``begin`` and an ``end``, the client's.
        operation: of an ``invoke``.
        code: of a failure; of a ``bad`` line, what the client saw that must not be.
        number: the revision or version that was answered; of an ``end``, what is pending.
    """

    what: What
    id: str
    operation: Operation | None = None
    code: str = ""
    number: int | None = None


class HistoryWriter:
    """Appends lines; those that must precede what they speak of are durable on return.

    Parameters:
        path: the file; a client that was killed left its last line whole or torn.
    """

    def __init__(self, path: Path):
        self._file = path.open("ab")
        if self._file.tell():
            # Ends a torn line, which the reader then skips.
            self._file.write(b"\n")
        self._lock = threading.Lock()
        self._later: SimpleQueue[Line] = SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def now(self, lines: Iterable[Line]) -> None:
        """Write lines and fsync them."""
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        with self._lock:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())

    def soon(self, line: Line) -> None:
        """Have a line written by the next batch."""
        self._later.put(line)

    def close(self) -> None:
        """Write what is left."""
        self._closing = True
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        while not (self._closing and self._later.empty()):
            lines = []
            try:
                lines.append(self._later.get(timeout=_WAIT_SECONDS))
                while True:
                    lines.append(self._later.get_nowait())
            except Empty:
                if lines:
                    self.now(lines)


@dataclass
class Record:
    """All that is known of one operation."""

    operation: Operation
    accepted: bool = False
    refused: bool = False
    told: bool = False
    applied: bool = False
    failed: str | None = None
    number: int | None = None


@dataclass
class History:
    """What all clients have written.

    Attributes:
        records: by operation id, in the order of issue within each client.
        bad: what clients saw that must not be.
        pending: what each client that has ended had pending; clients that never ended are absent.
        lives: how many times each client was started.
    """

    records: dict[str, Record] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    pending: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """Take one more line."""
        match line.what:
            case "begin":
                self.lives[line.id] = self.lives.get(line.id, 0) + 1
                self.pending.pop(line.id, None)
            case "end":
                self.pending[line.id] = line.number or 0
            case "bad":
                self.bad.append(f"{line.id}: {line.code}")
            case "invoke":
                assert line.operation is not None
                self.records[line.id] = Record(line.operation)
            case _:
                self._outcome(self.records[line.id], line)

    def _outcome(self, record: Record, line: Line) -> None:
        match line.what:
            case "accepted":
                record.accepted = True
            case "refused":
                record.refused = True
            case "told":
                record.told = True
            case "applied":
                record.applied, record.number = True, line.number
            case "failed":
                record.failed = line.code


def read_history(paths: Iterable[Path]) -> History:
    """The histories of all clients in one."""
    history = History()
    for path in paths:
        for line in _lines(path):
            history.add(line)
    return history


def _lines(path: Path) -> Iterator[Line]:
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        for raw in file:
            # A client that is killed may leave its last line torn.
            if raw.endswith(b"}\n") and raw.startswith(b"{"):
                try:
                    yield decoder.decode(raw)
                except msgspec.DecodeError:
                    continue
