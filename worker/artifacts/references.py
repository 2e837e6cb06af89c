"""Which blobs the index refers to, and by which versions: read in pages, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select, tuple_

from api_client.contract.operations import BlobReference
from worker.database import Database
from worker.schema import artifact_versions, artifacts

_PAGE = 1000


@dataclass(frozen=True)
class Scope:
    """Whose artifacts are meant.

    Attributes:
        app, user: only theirs; None for all.
        session: only its own, without its user's; None for all.
    """

    app: str | None = None
    user: str | None = None
    session: str | None = None


@dataclass(frozen=True)
class Total:
    """How many blobs there are, each counted once, and how many bytes they have together."""

    blobs: int
    bytes: int


def total(database: Database, scope: Scope) -> Total:
    """What the versions within ``scope`` refer to."""
    found = _blobs(scope).subquery()
    statement = select(func.count(), func.coalesce(func.sum(found.c.size), 0)).select_from(found)
    with database.read.begin() as connection:
        count, size = connection.execute(statement).one()
    return Total(count, int(size))


def blobs_of(database: Database, scope: Scope) -> Iterator[BlobReference]:
    """The blobs that versions within ``scope`` refer to, each once, by hash."""
    after = ""
    while True:
        statement = _blobs(scope).where(artifact_versions.c.sha256 > after)
        ordered = statement.order_by(artifact_versions.c.sha256).limit(_PAGE)
        rows = _page(database, ordered)
        yield from (BlobReference(row.sha256, row.size) for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].sha256


def versions_of(database: Database, scope: Scope, sha256: str) -> Iterator[Row[Any]]:
    """The versions within ``scope`` that refer to a blob: app, user_id, session_id, name, version
    and size of each."""
    place = (artifact_versions.c.artifact_pk, artifact_versions.c.version)
    columns = (artifacts.c.app, artifacts.c.user_id, artifacts.c.session_id, artifacts.c.name)
    statement = (
        select(*columns, *place, artifact_versions.c.size)
        .join(artifacts, artifact_versions.c.artifact_pk == artifacts.c.pk)
        .where(artifact_versions.c.sha256 == sha256, *_within(scope))
        .order_by(*place)
        .limit(_PAGE)
    )
    after = (0, 0)
    while True:
        rows = _page(database, statement.where(tuple_(*place) > after))
        yield from rows
        if len(rows) < _PAGE:
            return
        after = (rows[-1].artifact_pk, rows[-1].version)


def _blobs(scope: Scope) -> Select[Any]:
    size = func.max(artifact_versions.c.size).label("size")
    statement = select(artifact_versions.c.sha256, size).group_by(artifact_versions.c.sha256)
    within = _within(scope)
    if within:
        joined = artifact_versions.c.artifact_pk == artifacts.c.pk
        statement = statement.join(artifacts, joined).where(*within)
    return statement


def _within(scope: Scope) -> list[Any]:
    wanted = {
        artifacts.c.app: scope.app,
        artifacts.c.user_id: scope.user,
        artifacts.c.session_id: scope.session,
    }
    return [column == value for column, value in wanted.items() if value is not None]


def _page(database: Database, statement: Select[Any]) -> list[Row[Any]]:
    # A transaction of its own: one that stayed open while blobs are read would be cut off.
    with database.read.begin() as connection:
        return list(connection.execute(statement))
