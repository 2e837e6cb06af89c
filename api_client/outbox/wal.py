"""Tells whether the log beside an SQLite file has lost transactions that had been committed.

SQLite takes a log up to the first frame that does not match its checksum, because there a crash may
have ended it, and says nothing (https://www.sqlite.org/walformat.html). But each transaction is
synced here before the next one is written, so a crash leaves no more than one behind that place.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_WORD = 0xFFFF_FFFF

Sums = tuple[int, int]


def problem_of(log: Path) -> str | None:
    """What is wrong with the file at ``log``, which need not exist; None if nothing is."""
    if not log.exists():
        return None
    with log.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        magic, _, page, _, *salts, first, second = _HEADER.unpack(header)
        order = ">" if magic & 1 else "<"
        sums = _added((0, 0), header[:24], order)
        if sums != (first, second):
            return "the header of its log does not match its checksum"
        lost = _lost(file, page, salts, sums, order)
    return f"{lost} transactions in its log cannot be read" if lost > 1 else None


def _lost(file: BinaryIO, page: int, salts: list[int], sums: Sums, order: str) -> int:
    """How many transactions end behind the first frame that cannot be read, that one included."""
    lost, readable = 0, True
    while len(frame := file.read(_FRAME.size + page)) == _FRAME.size + page:
        _, ends, *own_salts, first, second = _FRAME.unpack_from(frame)
        # Others are left from before the log was begun anew.
        current = own_salts == salts
        if readable:
            sums = _added(_added(sums, frame[:8], order), frame[_FRAME.size :], order)
            readable = current and sums == (first, second)
        if current and ends and not readable:
            lost += 1
    return lost


def _added(sums: Sums, content: bytes, order: str) -> Sums:
    first, second = sums
    for left, right in struct.iter_unpack(f"{order}2I", content):
        first = (first + left + second) & _WORD
        second = (second + right + first) & _WORD
    return first, second
