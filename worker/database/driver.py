"""PostgreSQL's driver behind a connection of SQLAlchemy, for what that has no words for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg2.extensions
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def driver_of(connection: Connection) -> psycopg2.extensions.connection:
    """The driver's own connection."""
    return cast("psycopg2.extensions.connection", connection.connection.dbapi_connection)


@contextmanager
def driver_cursor(connection: Connection, statement: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of the driver within the caller's transaction.

    Parameters:
        statement: what is executed, without values, for errors.

    Raises:
        sqlalchemy.exc.DBAPIError: in place of the driver's error, as SQLAlchemy does it for
            statements that it executes itself.
    """
    try:
        with driver_of(connection).cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg2.Error) from error
