"""Drops old points, and the blobs that only they had.

A blob is removed only if no point that stays lists it, so all lists are first seen to be whole and
in order: with a damaged one, no blob is removed. Nobody reads or writes the folder meanwhile
(`worker.backup.folder.Backups.alone`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, pairwise

from api_client.contract.errors import StorageError
from worker.backup.folder import Backups
from worker.backup.points import Point, moment_of


@dataclass(frozen=True)
class Dropped:
    """What was dropped.

    Attributes:
        points: their names, those that were never finished included.
        blobs: how many, that no point lists any more.
        damaged: the points whose lists are damaged, so that no blob could be removed.
    """

    points: list[str]
    blobs: int
    damaged: list[str]


def drop_all_but(backups: Backups, keep: int) -> Dropped | None:
    """Drop all points but the newest ``keep``, and the blobs that none of these lists. Points that
    somebody has renamed stay, and do not count. What killed backups have left goes too. Can be
    repeated if it is interrupted.

    Returns None, and does nothing, if somebody is just making or restoring a backup of the folder.

    Raises:
        OSError: something cannot be removed.
    """
    with backups.alone() as alone:
        if not alone:
            return None
        points = backups.points()
        renamed = [point for point in points if moment_of(point.name) is None]
        newest = points[len(renamed) :][-keep:]
        kept = renamed + newest
        old = _older_than(backups, newest[0].name) if newest else []
        backups.blobs.remove_interrupted(0.0)
        for point in old:
            point.forget()
            shutil.rmtree(point.folder)
        damaged = [point.name for point in kept if not _is_whole(point)]
        removed = 0 if damaged or not kept else _remove_unlisted(backups, kept)
        return Dropped([point.name for point in old], removed, damaged)


def _older_than(backups: Backups, name: str) -> list[Point]:
    names = sorted(path.name for path in backups.folder.iterdir() if path.name < name)
    return [Point(backups.folder / each) for each in names if moment_of(each) is not None]


def _is_whole(point: Point) -> bool:
    """Whether the list has all the blobs that it had, in order."""
    try:
        whole = point.has_whole_list(point.manifest())
    except StorageError:
        return False
    return whole and all(a < b for a, b in pairwise(_hashes(point)))


def _hashes(point: Point) -> Iterator[str]:
    return (blob.sha256 for blob in point.blobs())


def _remove_unlisted(backups: Backups, points: list[Point]) -> int:
    removed = 0
    listed = groupby(merge(*(_hashes(point) for point in points)), key=lambda sha256: sha256[:2])
    prefix, hashes = next(listed, ("", iter(())))
    # By prefixes, because all hashes of a large folder may not fit into memory.
    for each in (f"{number:02x}" for number in range(256)):
        kept: set[str] = set()
        if prefix == each:
            kept = {*hashes}
            prefix, hashes = next(listed, ("", iter(())))
        for sha256 in backups.blobs.beginning_with(each):
            if sha256 not in kept:
                backups.blobs.delete(sha256)
                removed += 1
    return removed
