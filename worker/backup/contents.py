"""What a database holds: rows by table, and the blobs that it refers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, inspect, select

from worker.schema import artifact_versions, metadata

_AT_A_TIME = 1000


@dataclass(frozen=True)
class Listed:
    """Attributes: how many blobs a list has, and how many bytes these have."""

    blobs: int
    bytes: int


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each of our tables has; those that are not there are left out."""
    there = {*inspect(connection).get_table_names()}
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in metadata.sorted_tables
        if table.name in there
    }


def list_blobs(connection: Connection, path: Path) -> Listed:
    """Write hash and size of each blob that a version refers to, in the order of hashes."""
    sha256, size = artifact_versions.c.sha256, func.max(artifact_versions.c.size)
    statement = select(sha256, size).group_by(sha256).order_by(sha256)
    count = total = 0
    with path.open("w") as file:
        streamed = connection.execution_options(yield_per=_AT_A_TIME)
        for found, bytes_ in streamed.execute(statement):
            file.write(f"{found} {bytes_}\n")
            count += 1
            total += bytes_
    return Listed(count, total)
