"""What became of every operation: histories compared with what the restored stores hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import text

from tests.drill.client import data_of
from tests.faults.history import Line
from worker.database import Database, DatabaseOptions

_EVENTS = text(
    "SELECT s.user_id, e.payload FROM events e JOIN sessions s ON s.pk = e.session_pk"
    " WHERE s.app = 'drill' ORDER BY s.user_id, e.seq"
)
_VERSIONS = text(
    "SELECT a.user_id, a.name, v.version, v.sha256 FROM artifact_versions v"
    " JOIN artifacts a ON a.pk = v.artifact_pk WHERE a.app = 'drill'"
)


class Told:
    """What clients were told up to now.

    Parameters:
        folder: of their histories.
        names: the clients'.

    Attributes:
        accepted, applied, failed: numbers by client.
    """

    def __init__(self, folder: Path, names: list[str]):
        self.accepted: dict[str, set[int]] = {name: set() for name in names}
        self.applied: dict[str, set[int]] = {name: set() for name in names}
        self.failed: dict[str, set[int]] = {name: set() for name in names}
        for name in names:
            path = folder / f"{name}.history"
            whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
            for raw in whole.splitlines():
                line = msgspec.json.decode(raw, type=Line)
                getattr(self, line.what)[name].add(int(line.id))

    def least(self, what: str) -> int:
        """How many of a kind the client has that has the fewest."""
        found: Mapping[str, set[int]] = getattr(self, what)
        return min(map(len, found.values()))


@dataclass
class Account:
    """Attributes: operations accepted, those that are there, those that are not although their
    clients were told that they were applied, by nature of the restore; and what is wrong."""

    accepted: int = 0
    there: int = 0
    behind_the_point: int = 0
    wrong: list[str] = field(default_factory=list)


def take_account(url: str, before: Told, destroyed: Told, end: Told) -> Account:
    """Compare.

    Parameters:
        before: what clients knew before the point that was restored.
        destroyed: what they knew when everything was destroyed.
        end: what they know now.
    """
    found, account = _found(url), Account()
    for name, accepted in end.accepted.items():
        numbers = found.get(name, [])
        there = set(numbers)
        appended = [number for number in numbers if number % 10]
        if appended != sorted(appended) or len(numbers) != len(there):
            account.wrong.append(f"{name}: something is there twice or out of order")
        missing = accepted - there
        account.accepted += len(accepted)
        account.there += len(accepted & there)
        account.behind_the_point += len(missing)
        if gone := missing & before.applied[name]:
            account.wrong.append(f"{name}: {len(gone)} applied before the point are lost")
        if gone := missing - destroyed.applied[name]:
            account.wrong.append(f"{name}: {len(gone)} pending at the destruction are lost")
        if end.failed[name]:
            account.wrong.append(f"{name}: {len(end.failed[name])} failed")
    return account


def _found(url: str) -> dict[str, list[int]]:
    """By client, the numbers that are there; a saved one only with the bytes that it must have."""
    database, found = Database(DatabaseOptions(url)), dict[str, list[int]]()
    with database.read.connect() as connection:
        for user, payload in connection.execute(_EVENTS):
            found.setdefault(user, []).append(msgspec.json.decode(payload)["content"])
        for user, file, version, sha256 in connection.execute(_VERSIONS):
            number = int(file.removesuffix(".txt"))
            if hashlib.sha256(data_of(user, number)).hexdigest() == sha256 and version == 1:
                found.setdefault(user, []).append(number)
    database.close()
    return found
